"""Errors that are meant for the person who runs the program."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """Something the user gave is wrong: a config key, a file, an annotation.

    The message is one line that says what was wrong, where, and what to do about it. ``train_net.py`` prints it
    without a traceback and exits with status 1.
    """


class NothingToRateError(InputError):
    """The images of an evaluation have nothing that its metric counts; no process's have."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, once all is kept that can be; the message, which starts a clause, says what that is."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to ``name``, or the empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


@contextlib.contextmanager
def one_line_errors(hint: str = "") -> Iterator[None]:
    """End the process of a command line with one line on stderr where the input is at fault, or on Ctrl-C.

    A context, or a decorator of the function that runs the command line: ``@one_line_errors()``.

    Args:
        hint: what to do after Ctrl-C, added to "interrupted"; :class:`Interrupted` says it itself.

    Raises:
        SystemExit: with status 1 for an InputError, 130 for Ctrl-C.
    """
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt as stop:
        kept = str(stop) if isinstance(stop, Interrupted) else hint
        print(f"\ninterrupted{f'; {kept}' if kept else ''}", file=sys.stderr)
        raise SystemExit(130) from None
