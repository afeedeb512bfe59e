"""Want of memory, as the errors of Python and of torch tell it, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fbnetv5.base.errors import InputError

WORDS = ("allocate memory", "out of memory", "nable to allocate", "invalid buffer size", "Storage size calculation")


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
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in WORDS):
            raise
        raise InputError(
            f"the memory of this machine does not suffice: {lines[0]}; take fewer or smaller images at a time, or a "
            "smaller network"
        ) from error
