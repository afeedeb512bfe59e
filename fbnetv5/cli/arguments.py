"""Arguments of command lines beside that of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def parser_of(doc: str | None, prog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser whose ``--help`` shows the docstring of a script as it stands.

    Args:
        doc: the docstring.
        prog: what is typed to start it, where that is not the name of the file.
    """
    return argparse.ArgumentParser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def at_least(smallest: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number and not below ``smallest``."""

    def number(text: str) -> int:
        if (value := int(text)) < smallest:
            raise argparse.ArgumentTypeError(f"{text} is too small: at least {smallest}")
        return value

    return number
