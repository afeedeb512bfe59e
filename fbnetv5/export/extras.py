"""The packages of the ``export`` extra, asked for where they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fbnetv5.base.errors import InputError


@contextlib.contextmanager
def needs_extra(purpose: str) -> Iterator[None]:
    """Turn a missing package into a sentence that says how to get it.

    Args:
        purpose: what it is needed for, such as "ExecuTorch".

    Raises:
        InputError: a package that the block imports is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{purpose} needs packages that are not installed ({error.name or error}); "
            "pip install --editable '.[export]' brings them"
        ) from error
