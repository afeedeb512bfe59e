"""Subcommands on what runs have left: their pages, their table, and the milliseconds of exported files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.cli.arguments import at_least
from fbnetv5.cli.command import Command


def run_report(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Write the pages of runs again: ``fbnetv5 report RUN ...``."""
    parser = command.parser(name)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    known = parser.parse_args(arguments)
    with one_line_errors():
        from fbnetv5.report.html import write_report  # here, as it imports torch and matplotlib

        for run in known.runs:
            print(write_report(run))


def run_time(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Time the exported files of runs: ``fbnetv5 time RUNS ...``."""
    parser = command.parser(name)
    add = parser.add_argument
    add("places", nargs="+", type=Path, metavar="RUN", help="folders of trainings, of sweeps, or of exported files")
    add("--runtime", choices=("executorch", "onnx", "litert"), help="these files alone")
    add("--precision", choices=("fp32", "int8"), help="these files alone")
    add(
        "--threads", type=at_least(1), metavar="N", help="CPU threads a file runs with; by default as many as torch has"
    )
    add("--repeats", type=at_least(1), default=50, metavar="N", help="rounds (50); a command is asked a tenth as often")
    add("--command", metavar="TEMPLATE", help="times a file on another device, as search.latency.command; docs/COST.md")
    add("--device", metavar="NAME", help="of the device that the command asks")
    add("--pattern", metavar="REGEX", help="finds the milliseconds in what the command prints; else the last number")
    add("--timeout", type=at_least(1), default=120, metavar="SECONDS", help="that the command may take a file (120)")
    known = parser.parse_args(arguments)
    with one_line_errors("the same command goes on with what was timed"):
        if (known.command is None) != (known.device is None) or (known.pattern and known.command is None):
            raise InputError("--command asks a device, whose name is --device; --pattern is the command's")
        if "{threads}" in (known.command or "") and known.threads is None:
            raise InputError("--command has {threads}: give --threads")
        from fbnetv5.config.latency import LatencyConfig  # here, as help does not need them
        from fbnetv5.runs.file_times import time_files

        names = ("threads", "repeats", "command", "device", "pattern", "timeout")
        options = LatencyConfig(**{name: getattr(known, name) for name in names})
        try:
            time_files(known.places, options, known.runtime, known.precision)
        except InputError as error:
            raise InputError(str(error).replace("search.latency.", "--")) from error  # as the options are called here


def run_collect(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Gather runs into one table: ``fbnetv5 collect RUNS ...``."""
    parser = command.parser(name)
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folders of runs, or of sweeps, or globs of them")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where the files go; the first of the folders if not given"
    )
    parser.add_argument(
        "--x",
        metavar="COST",
        default="macs",
        help="the cost: macs, params, latency_ms (predicted), or ms, of exported files that fbnetv5 time measured",
    )
    parser.add_argument("--y", metavar="METRIC", help="the score: any column; by default a metric, else the loss")
    parser.add_argument("--task", help="only this task of searches, or head of trainings")
    known = parser.parse_args(arguments)
    with one_line_errors():
        from fbnetv5.runs.collect import collect_runs  # here, as it imports torch

        collect_runs(known.runs, known.output, x=known.x, y=known.y, task=known.task)
