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


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add how many processes share a run."""
    parser.add_argument(
        "--processes",
        type=at_least(1),
        default=1,
        metavar="N",
        help="processes of this machine that share the run, and its GPUs or its cores; by default one",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command lines of runs have: the processes that share a run, and sweeps."""
    add_processes(parser)
    parser.add_argument(
        "--multirun",
        action="store_true",
        help="sweep over key=a,b,c and the axes of the file; one folder a job; see docs/SWEEPS.md",
    )


def add_study_arguments(parser: argparse.ArgumentParser, *, table: bool = True) -> None:
    """Add what the command lines of all studies have: output, seeds, processes, and a ``table`` that is kept."""
    parser.add_argument("--output", help="folder of what is not kept for good; the config's if not given")
    if table:
        parser.add_argument("--table", help="the csv file; the config's if not given")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="instead of the config's")
    parser.add_argument(
        "--processes",
        type=at_least(1),
        metavar="N",
        help="jobs at a time, each in a process of one thread; by default as many as there are GPUs, or else cores",
    )
