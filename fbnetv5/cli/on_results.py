"""Subcommands on what runs have left: their pages, their table, milliseconds of exported files, a search's curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.cli.arguments import at_least
from fbnetv5.cli.command import Command
from fbnetv5.cli.launch import existing_config, run_job, runnable
from fbnetv5.cli.timing import add_timing, named_as_options, timing_of
from fbnetv5.runs.plan import swept_keys


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
    add_timing(parser)
    known = parser.parse_args(arguments)
    with one_line_errors("the same command goes on with what was timed"), named_as_options():
        from fbnetv5.runs.file_times import time_files  # here, as help does not need it

        time_files(known.places, timing_of(known), known.runtime, known.precision)


def run_curve(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Train, export and time a family: ``fbnetv5 curve CONFIG ... [key=value ...]``."""
    parser = command.parser(name)
    add = parser.add_argument
    add("configs", nargs="+", metavar="CONFIG", help="YAML files of trainings, whose model.topology a search derived")
    add(
        "--points",
        type=at_least(2),
        metavar="N",
        help="of each family, evenly, with the cheapest and the best; else all",
    )
    add("--found-only", action="store_true", help="leave out the topologies that people draw: fpn, panet, bifpn")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where all goes; by default the search's folder, with _curve behind",
    )
    add(
        "--jobs",
        type=at_least(1),
        metavar="N",
        help="trainings at a time, of one thread; else one a GPU, or one a core",
    )
    add_timing(parser)
    known, more = parser.parse_known_args(arguments)
    given = [*known.configs, *more]
    configs = [text for text in given if os.path.isfile(text) or not ("=" in text or text.startswith("-"))]  # noqa: PTH113 - pathlib minds long texts
    overrides = [text for text in given if text not in configs]
    with one_line_errors("the same command goes on with what is not finished"), named_as_options():
        if wrong := next((text for text in overrides if text.startswith("-")), None):
            raise InputError(f"{wrong}: there is no such option here; --help lists them")
        if axes := swept_keys(overrides):
            raise InputError(f"{axes[0]} has several values, and a curve takes one; quote a value with a comma")
        if not configs:
            raise InputError("give the config of a training: fbnetv5 curve my_cls.yaml")
        timing = timing_of(known)
        files = [existing_config(config) for config in configs]
        for file in files:
            runnable(file, overrides)
        from fbnetv5.runs.curve import Wanted, run_curves  # here, as help does not need them

        wanted = Wanted(known.output, known.points, not known.found_only)
        if not run_curves(files, overrides, run_job, timing, wanted, known.jobs):
            raise SystemExit(1)


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
