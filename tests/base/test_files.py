"""Files and folders are whole and on the disk before they are there."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import append_line, atomic_folder, atomic_path, clear_partial, csv_lines, keep_lines, write_text


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


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    def out_of_space() -> None:
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "a").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(InputError, match="No space left on device"):
        out_of_space()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_lines_after_the_checkpoint_and_half_lines_are_dropped(tmp_path):
    path = tmp_path / "log"
    append_line(path, "1 kept")
    append_line(path, "2 dropped")
    path.write_text(path.read_text() + "1 cut o")
    append_line(path, "")
    append_line(path, "damaged")
    keep_lines(path, lambda line: int(line.split()[0]) == 1 and "cut" not in line)
    assert path.read_text() == "1 kept\n"


def test_what_killed_processes_left_is_cleared(tmp_path):
    for name in ("a", "inner/b", "other/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_text(tmp_path / name, "kept")
    (tmp_path / "other" / ".lock").touch()
    (tmp_path / ".hidden.partialx").touch()
    before = sorted(tmp_path.rglob("*"))
    left = []
    for target in (tmp_path / "a", tmp_path / "inner" / "b.json", tmp_path / "other" / "c"):
        with contextlib.suppress(KeyError), atomic_path(target) as temporary:
            left.append(temporary)
            raise KeyError
    with contextlib.suppress(KeyError), atomic_folder(tmp_path / "inner" / "folder") as temporary:
        left.append(temporary / "deep")
        raise KeyError
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    clear_partial(tmp_path, but=".lock")
    assert left[2].exists(), "of a folder that another run holds"
    left[2].unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_as_long_as_names_may_be_is_written(tmp_path):
    for name in ("x" * 250, "ä" * 120):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 2
