"""The lock on a run's folder: one run at a time writes to it.

A file in the folder says which process holds it. Whether that lives, the operating system knows: it frees what a
process has locked when it ends, however it ends. So the lock of a run that was killed can be taken over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import reported

LOCK = ".lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_here: set[tuple[int, Path]] = set()  # process and file; a second lock of the same process would be granted


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder, which is made if need be, within the context.

    The lock of a process that has died is taken over, and stderr is told so.

    Raises:
        InputError: another run holds it, or the folder cannot be written to.
    """
    path = (folder / LOCK).absolute()
    key = (os.getpid(), path)
    if key in _here:
        raise InputError(f"{folder} is in use by this very process: choose output=FOLDER")
    handle = _acquire(path)
    _here.add(key)
    try:
        yield
    finally:
        _here.discard(key)
        with contextlib.suppress(OSError):
            path.unlink()  # before the handle is closed, which frees it for another to hold
        os.close(handle)


def _acquire(path: Path) -> int:
    """Return the handle of the file, which is locked as long as it is open."""
    with reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        is_free, holder = _try_lock(handle), _read_holder(handle)
        if is_free is None:  # a file system without locks
            is_free = not holder or _has_died(holder)
        if not is_free:
            raise InputError(_in_use(path, holder))
        is_there = path.exists() and os.path.samestat(os.fstat(handle), path.stat())
        if is_there:
            if holder:
                told = f"{path.parent}: {_named(holder)} has died; this run takes its folder over"
                print(told, file=sys.stderr, flush=True)
            with reported(path):
                _write_holder(handle)
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return _acquire(path)  # its holder has removed it in between


def _try_lock(handle: int) -> bool | None:
    """Lock an open file; whether it was free, or None where the file system has no locks."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True


def _read_holder(handle: int) -> dict[str, Any]:
    """Return what the file says of its holder: process and host; nothing where it says nothing that can be read."""
    try:
        holder = json.loads(os.pread(handle, 1000, 0))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _write_holder(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode(), 0)


def _has_died(holder: dict[str, Any]) -> bool:
    """Whether a process of this host is no more; of another host nobody knows."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("process"), int):
        return False
    try:
        os.kill(holder["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _in_use(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"{path.parent} is in use by {_named(holder)}: wait for it, end it, or choose output=FOLDER; if it "
        f"runs no more, delete {path.name} there"
    )


def _named(holder: dict[str, Any]) -> str:
    return f"process {holder.get('process', '?')} on {holder.get('host', 'an unknown host')}"
