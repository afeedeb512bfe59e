"""Keeping from the user what export libraries say about each other; their exceptions tell what is wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings of Python."""
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Hide all that is printed, also from C++, and logged below an error."""
    before, kept = logging.root.manager.disable, [os.dup(number) for number in (1, 2)]
    with Path(os.devnull).open("wb") as nowhere, quiet():
        logging.disable(logging.WARNING)
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
        try:
            yield
        finally:
            for number, own in zip((1, 2), kept, strict=True):
                os.dup2(own, number)
                os.close(own)
            logging.disable(before)
