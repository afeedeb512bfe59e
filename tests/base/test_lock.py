"""The lock on a run's folder: held by one process, free when that has ended, however it ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from fbnetv5.base import lock
from fbnetv5.base.errors import InputError
from fbnetv5.base.lock import LOCK, locked
from tests.processes import start


def hold(folder: Path) -> None:
    """Hold a lock without end."""
    with locked(folder):
        (folder / "held").touch()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds the lock on ``run``."""
    process = start(hold, tmp_path / "run", log=tmp_path / "log", env=os.environ)
    while not (tmp_path / "run" / "held").exists():
        assert process.is_alive()
        time.sleep(0.005)
    yield process
    process.kill()
    process.join()


def test_a_folder_is_held_by_one_process(holder, tmp_path: Path):
    with (
        pytest.raises(InputError, match=f"in use by process {holder.pid} on {socket.gethostname()}"),
        locked(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run" / LOCK).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_process_that_died_held_is_taken_over_with_a_word(holder, tmp_path: Path, capsys, number):
    os.kill(holder.pid, number)
    holder.join()
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["process"] == os.getpid()
    assert f"process {holder.pid} on {socket.gethostname()} has died" in capsys.readouterr().err
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_process_holds_a_folder_once(tmp_path: Path, capsys):
    with locked(tmp_path), pytest.raises(InputError, match="this very process"), locked(tmp_path):
        pass
    with locked(tmp_path):  # free again
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("holder", "is_free"),
    [
        ({"process": os.getpid(), "host": socket.gethostname()}, False),
        ({"process": 2**22 + 1, "host": socket.gethostname()}, True),
        ({"process": 2**22 + 1, "host": "elsewhere"}, False),
        ({}, True),
    ],
)
def test_where_files_cannot_be_locked_the_process_is_looked_for(tmp_path: Path, monkeypatch, holder, is_free):
    monkeypatch.setattr(lock, "_try_lock", lambda handle: None)
    (tmp_path / LOCK).write_text(json.dumps(holder))
    if is_free:
        with locked(tmp_path):
            pass
    else:
        with pytest.raises(InputError, match=r"in use by process \d+ on .* delete \.lock there"), locked(tmp_path):
            pass


def test_a_damaged_lock_file_holds_nothing(tmp_path: Path):
    for content in (b"", b"\xff\x00", b"[1]", b"{"):
        (tmp_path / LOCK).write_bytes(content)
        with locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_to(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"), locked(tmp_path / "file"):
        pass
