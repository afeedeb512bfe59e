"""Files that lie in tar files, as the shards of webdataset do: ``train/shard-000012.tar/n01440764/1.jpg``.

In a path, an uncompressed tar file stands where a folder may stand, and what follows names a member. Any member is read
at once, as each process keeps where the members of the shards begin that it has used: 24 bytes a member. Nothing is
ever unpacked: links, devices and names that leave the tar are no files here.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import require_regular
from fbnetv5.base.limits import MAX_DOCUMENT, MAX_MEMBER

SUFFIX = ".tar"
MAX_OPEN = 64  # tar files that a process holds open
BLOCK = tarfile.BLOCKSIZE
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
NO_FILE = -1  # in the place of the size of what is no regular file


def in_tar(path: Path) -> tuple[Path, str] | None:
    """Split a path into the tar file that it leads through and the member's name; None: it leads through none."""
    text = os.fspath(path)
    if f"{SUFFIX}/" not in text:
        return None
    for parent in reversed(path.parents):
        if is_tar(parent):
            return parent, text.removeprefix(os.fspath(parent)).lstrip("/")
    return None


def is_tar(path: Path) -> bool:
    """Whether a path is that of a tar file, by its name; a folder of such a name is a folder."""
    return path.name.endswith(SUFFIX) and is_file(path)


def is_folder(path: Path) -> bool:
    """Whether files lie below a path: of a folder, or of a tar file."""
    return os.path.isdir(path) or is_tar(path)  # noqa: PTH112  # pathlib raises where a folder may not be entered


def is_file(path: Path) -> bool:
    """Whether a path is that of a file, as far as one may look."""
    return os.path.isfile(path)  # noqa: PTH113


def source_of(path: Path) -> Path | io.BytesIO:
    """Return what a decoder opens for a file: its path, or what it holds if it lies in a tar file.

    Raises:
        OSError, ValueError: as :func:`read_member`, or it is no regular file.
    """
    if (found := in_tar(path)) is not None:
        return io.BytesIO(read_member(*found))
    require_regular(path)
    return path


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, in a folder or in a tar file. Raises OSError, ValueError: as :func:`source_of`."""
    source = source_of(path)
    return source.read_bytes() if isinstance(source, Path) else source.getvalue()


def read_member(tar: Path, name: str, limit: int = MAX_MEMBER) -> bytes:
    """Return what a member holds.

    Args:
        tar: the file, uncompressed.
        name: of the member, without ``./`` before it; of several of one name, the last is read.
        limit: bytes that it may have.

    Raises:
        OSError: the tar cannot be read, or has no such member (FileNotFoundError).
        ValueError: it is compressed or damaged, or the member is a link, a device or a folder, or too large.
    """
    opened = _opened(tar)
    offset, size = opened.members.place(name)
    if size == NO_FILE:
        raise ValueError("it is no file in the tar file, but a link, a folder or a device")
    if size > limit:
        raise ValueError(f"{size:,} bytes are too many: it should have at most {limit:,}")
    content = os.pread(opened.handle, size, offset)
    while len(content) < size:
        more = os.pread(opened.handle, size - len(content), offset + len(content))
        if not more:
            raise ValueError("the tar file was cut short while it was read")
        content += more
    return content


def list_members(tar: Path) -> list[str]:
    """Return the names of the files in a tar file, sorted, but for hidden ones; folders, links and devices are none.

    Raises:
        InputError: it cannot be read, is compressed or damaged, or a name leaves it or is not UTF-8.
    """
    names: set[str] = set()
    try:
        for member in _members(tar):
            name = _name(member)
            if not member.isreg() or any(part.startswith(".") for part in PurePosixPath(name or "").parts):
                continue
            if name is None:
                raise ValueError(f"the name {member.name!r} leaves it")
            name.encode()
            names.add(name)
    except UnicodeEncodeError as error:
        raise InputError(f"{tar}: the name {name!r} is not UTF-8, which an index cannot hold; rename it") from error
    except OSError as error:
        raise InputError(f"{tar}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{tar}: {error}") from error
    return sorted(names)


@dataclass(frozen=True)
class Members:
    """Where the members of a tar file lie, without their names, so that those of many shards fit into memory.

    Attributes:
        keys: of the names, ascending, uint64; that two names share one does not come by chance.
        offsets, sizes: in bytes, int64; the size of what is no regular file is ``NO_FILE``.
    """

    keys: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    sizes: np.ndarray[Any, Any]

    def place(self, name: str) -> tuple[int, int]:
        """Return offset and size of a member. Raises FileNotFoundError where there is none."""
        key = _key(name)
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key:
            raise FileNotFoundError(name)
        return int(self.offsets[row]), int(self.sizes[row])


class _Opened:
    """A tar file that is held open until nobody uses it."""

    def __init__(self, tar: Path, members: Members) -> None:
        self.members = members
        self.handle = os.open(tar, os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle)


def _opened(tar: Path) -> _Opened:
    found = tar.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("the tar file is a pipe, a device or a socket")
    return _open(tar, (found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=MAX_OPEN)
def _open(tar: Path, version: tuple[int, ...]) -> _Opened:
    """Open a tar file; ``version`` changes where it is another one than before."""
    return _Opened(tar, _places(tar, version))


@cache
def _places(tar: Path, version: tuple[int, ...]) -> Members:
    """Read where the members of a tar file lie. Raises OSError, ValueError: it cannot be read, or is no sound tar."""
    found: dict[int, tuple[int, int]] = {}
    for member in _members(tar):
        if (name := _name(member)) is not None:
            is_file = member.isreg() and member.sparse is None
            found[_key(name)] = (member.offset_data, member.size if is_file else NO_FILE)
    keys = np.array(sorted(found), np.uint64)
    places = np.array([found[key] for key in keys.tolist()], np.int64).reshape(-1, 2)
    return Members(keys, places[:, 0].copy(), places[:, 1].copy())


def _members(tar: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a tar file. Raises OSError, ValueError: it cannot be read, or is no sound tar to its end."""
    with tar.open("rb") as file:
        source: Any = _Headers(file)
        try:
            with tarfile.open(fileobj=source, mode="r:") as headers:
                while (member := headers.next()) is not None:
                    headers.members = []  # type: ignore[attr-defined]  # else all headers stay in memory
                    yield member
                end = headers.offset
        except (tarfile.TarError, EOFError, OverflowError, RecursionError) as error:
            raise ValueError(_fault(file, error)) from error
        file.seek(end)
        if file.read(BLOCK) != bytes(BLOCK):
            raise ValueError(f"the tar file is damaged or cut short at byte {end:,}")


def _fault(file: io.BufferedReader, error: BaseException) -> str:
    """Return what is wrong with a file that tarfile refuses."""
    file.seek(0)
    start = file.read(max(map(len, COMPRESSED)))
    kind = next((name for sign, name in COMPRESSED.items() if start.startswith(sign)), None)
    if kind is not None:
        return (
            f"the tar file is compressed ({kind}), so that no member can be read without all before it: decompress it"
        )
    return f"the tar file is none, or damaged: {error}"


class _Headers:
    """The file under a tar's headers; one that claims to be larger than any is damaged."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.seek, self.tell, self.file = file.seek, file.tell, file
        file.seek(0)

    def read(self, size: int) -> bytes:
        if size > MAX_DOCUMENT:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)


def _name(member: tarfile.TarInfo) -> str | None:
    """Return the name of a member without ``./``; None for one that leaves the tar."""
    path = PurePosixPath(member.name)
    return None if path.is_absolute() or ".." in path.parts else str(path)


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "big")
