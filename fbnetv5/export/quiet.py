"""Keeping from the user what export libraries say about each other; their exceptions tell what is wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

DESCRIPTORS = (1, 2)  # stdout and stderr


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings of Python."""
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Hide all that is printed, also from C++, and logged below an error; :func:`unsilenced` prints all the same."""
    _flush()  # what was printed before is not hidden
    before, kept = logging.root.manager.disable, [os.dup(number) for number in DESCRIPTORS]
    with Path(os.devnull).open("wb") as nowhere, quiet():
        logging.disable(logging.WARNING)
        for number in DESCRIPTORS:
            os.dup2(nowhere.fileno(), number)
        try:
            yield
        finally:
            _flush()
            for number, own in zip(DESCRIPTORS, kept, strict=True):
                os.dup2(own, number)
                os.close(own)
            logging.disable(before)


@contextlib.contextmanager
def unsilenced() -> Iterator[TextIO]:
    """Yield a stream to where stdout goes, which :func:`silent` does not hide."""
    try:
        is_hidden = sys.stdout.fileno() in DESCRIPTORS
    except (AttributeError, OSError):  # a stream of a notebook or a test has none
        is_hidden = False
    if not is_hidden:
        yield sys.stdout
        return
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding) as stream:
        yield stream


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
