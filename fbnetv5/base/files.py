"""Atomic writes: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fbnetv5.base.errors import InputError

SYNCING = 8  # files that the disk is asked for at a time
PARTIAL = "partial-"  # in the name of what is being written, before random characters


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` once the block has ended without an error.

    Raises:
        InputError: the file could not be written (no space, no permission); what stood at ``path`` is untouched.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_partial(target), suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        with contextlib.suppress(OSError):  # of a file system without permissions
            temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        kept = "; the previous file is untouched" if target.exists() else ""
        raise InputError(f"cannot write {target}: {error.strerror or error}{kept}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path``, which must not exist, once the block has ended.

    All that is in it is on the disk before that.

    Raises:
        InputError: something could not be written; nothing is left behind.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_partial(target), dir=target.parent))
        with contextlib.suppress(OSError):  # of drives without permissions
            temporary.chmod(0o755)
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}; nothing was left half-written") from error
    except InputError as error:
        if temporary is None or str(temporary) not in str(error):
            raise
        raise InputError(str(error).replace(str(temporary), str(target))) from error  # the name that the reader knows
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder beside ``path``; the folder is removed at the end.

    For what is tried before it is put in its place. What a killed process leaves of it, :func:`clear_partial` removes.

    Raises:
        InputError: the folder cannot be made.
    """
    with reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_partial(path), dir=path.parent))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder such that it is there as a whole or not at all; see :func:`clear_partial`."""
    with reported(path):
        hidden = Path(tempfile.mkdtemp(prefix=_partial(path), dir=path.parent))
        path.replace(hidden)
    shutil.rmtree(hidden, ignore_errors=True)  # what somebody holds open is left to the next start


def _sync(folder: Path) -> None:
    """Bring a folder and all in it to the disk, without which a rename may get there before what it names."""
    places = [Path(parent, file) for parent, _, files in os.walk(folder) for file in (*files, "")]
    with ThreadPoolExecutor(SYNCING) as pool:  # one after the other, each would wait for the disk
        for _ in pool.map(_sync_one, places):
            pass


def _sync_one(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _partial(target: Path) -> str:
    """Return what the name of a temporary file or folder starts with; a name as long as names may be is cut."""
    return f".{os.fsencode(target.name)[:200].decode(errors='ignore')}.{PARTIAL}"


def clear_partial(folder: Path, *, but: str) -> None:
    """Remove what processes that were killed have left half-written below a folder.

    Args:
        folder: of a run, to which no other writes.
        but: a file's name: folders below that have one are left alone, as others write there.
    """
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        if here != folder and but in files:
            folders.clear()
            continue
        for name in [name for name in (*folders, *files) if name.startswith(".") and f".{PARTIAL}" in name]:
            if name in folders:
                folders.remove(name)
                shutil.rmtree(here / name, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    (here / name).unlink()


def require_regular(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where something else than a file stands, such as a pipe, which would be waited for without end.

    Raises:
        OSError: there is nothing, or it cannot be looked at.
        ValueError: it is a pipe, a device or a socket. A folder is left to who opens it.
    """
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("it is no regular file, but a pipe, a device or a socket")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, such as a full disk, into an InputError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file.

    Raises:
        InputError: it could not be written.
    """
    with reported(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def keep_lines(path: Path, wanted: Callable[[str], bool]) -> None:
    """Drop the lines of a text file that are not wanted, and those that were cut off or damaged; no file is fine.

    Args:
        path: the file.
        wanted: whether to keep a line; a ValueError or KeyError says that it is damaged.
    """
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    write_text(path, "".join(line for line in lines if line.endswith("\n") and _is_wanted(line, wanted)))


def _is_wanted(line: str, wanted: Callable[[str], bool]) -> bool:
    try:
        return wanted(line)
    except (ValueError, KeyError, TypeError):
        return False


def csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines of a csv file. Unlike csv.writer's lines that end in a line feed, they quote a lone \\r."""
    for row in rows:
        buffer = io.StringIO()
        csv.writer(buffer).writerow(row)
        yield buffer.getvalue().removesuffix("\r\n") + "\n"
