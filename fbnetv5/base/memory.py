"""Memory of a run: what is freed is kept for the next step; want of it is told in one line."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

from fbnetv5.base.errors import InputError

WORDS = ("allocate memory", "out of memory", "nable to allocate", "invalid buffer size", "Storage size calculation")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT = 2**25  # bytes; the most that glibc takes
MOST_FREE = 2**31 - 1  # bytes of free memory that are not given back


def keep_freed_memory() -> None:
    """Let glibc keep freed memory, so that each step of a run takes what the one before has freed.

    By default it gives blocks of 128 KB and more back to the system and faults them in again, page by page, which was a
    sixth of a detector's time on a CPU. Nothing is done where there is no glibc, or the environment sets its malloc up.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_FREE)


def is_of_memory(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that memory does not suffice."""
    own = isinstance(error, MemoryError) or any(word in str(error) for word in WORDS)
    return own or (error.__cause__ is not None and is_of_memory(error.__cause__))


@contextlib.contextmanager
def memory_in_one_line() -> Iterator[None]:
    """Turn an error of the block that says that memory does not suffice into one line.

    Raises:
        InputError: it does not; the message says what was asked for.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        if not is_of_memory(error):
            raise
        raise InputError(
            f"the memory of this machine does not suffice: {lines[0]}; take fewer or smaller images at a time, or a "
            "smaller network"
        ) from error
