"""The packages of the extras ``export`` and ``litert``, asked for where they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fbnetv5.base.errors import InputError

EXPORT, LITERT = "export", "litert"


@contextlib.contextmanager
def needs_extra(purpose: str, extra: str = EXPORT) -> Iterator[None]:
    """Turn a missing package into a sentence that says how to get it.

    Args:
        purpose: what it is needed for, such as "ExecuTorch".
        extra: that brings them.

    Raises:
        InputError: a package that the block imports is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{purpose} needs packages that are not installed ({error.name or error}); "
            f"pip install --editable '.[{extra}]' brings them"
        ) from error
