"""Files and folders are whole and on the disk before they are there."""

from __future__ import annotations

import csv
import errno
import io
import os

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_folder, atomic_path, csv_lines, write_text


def test_a_folder_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    synced = []

    def fsync(handle):
        assert not (tmp_path / "folder").exists()
        synced.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "a").touch()
        (temporary / "inner" / "b").touch()
    places = [tmp_path / "folder", *(tmp_path / "folder").rglob("*")]
    assert sorted(synced) == sorted(place.stat().st_ino for place in places)


def full(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_messages_name_what_the_reader_knows(tmp_path):
    with pytest.raises(InputError) as caught, atomic_folder(tmp_path / "folder") as temporary:
        full(temporary / "a")
    assert str(caught.value) == f"cannot write {tmp_path / 'folder' / 'a'}: No space left on device"
    write_text(tmp_path / "b", "old")
    with pytest.raises(InputError, match="No space left on device; the previous file is untouched"):
        full(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_csv_lines_are_read_back_whatever_they_hold():
    rows = [("a", "b"), ("c\rd", "\n"), ('"', ","), ("\r\n", ""), ("é \r", " x ")]
    text = "".join(csv_lines(rows))
    assert text.startswith("a,b\n")
    assert [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] == rows
