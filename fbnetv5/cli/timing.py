"""Options of commands that time exported files: here, or by a command on another device."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from fbnetv5.base.errors import InputError
from fbnetv5.cli.arguments import at_least
from fbnetv5.config.latency import LatencyConfig

CALLED = {"search.latency.": "--", "output=FOLDER": "--output FOLDER", "another output folder": "another --output"}


def add_timing(parser: argparse.ArgumentParser) -> None:
    """Add what says how files are timed."""
    add = parser.add_argument
    add(
        "--threads", type=at_least(1), metavar="N", help="CPU threads a file runs with; by default as many as torch has"
    )
    add("--repeats", type=at_least(1), default=50, metavar="N", help="rounds (50); a command is asked a tenth as often")
    add("--command", metavar="TEMPLATE", help="times a file on another device, as search.latency.command; docs/COST.md")
    add("--device", metavar="NAME", help="of the device that the command asks")
    add("--pattern", metavar="REGEX", help="finds the milliseconds in what the command prints; else the last number")
    add("--timeout", type=at_least(1), default=120, metavar="SECONDS", help="that the command may take a file (120)")


def timing_of(known: argparse.Namespace) -> LatencyConfig:
    """Return what :func:`add_timing` added, as a search has it. Raises InputError where it does not fit together."""
    if (known.command is None) != (known.device is None) or (known.pattern and known.command is None):
        raise InputError("--command asks a device, whose name is --device; --pattern is the command's")
    names = ("threads", "repeats", "command", "device", "pattern", "timeout")
    return LatencyConfig(**{name: getattr(known, name) for name in names})


@contextlib.contextmanager
def named_as_options() -> Iterator[None]:
    """Let errors within the context name the keys of a run as the options are called here."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for key, here in CALLED.items():
            text = text.replace(key, here)
        raise InputError(text) from error
