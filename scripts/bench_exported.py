"""Measure latency and size of exported models, side by side with timm's and torchvision's, exported in the same way.

    python scripts/bench_exported.py [--models cls_a_c mobilenetv3_large_100 ...] [--run FOLDER ...]
    python scripts/bench_exported.py --models joint_a_c joint_lite0

exports each model for each runtime in each precision, times one image on one and two CPU threads, and prints a markdown
table a task: size, milliseconds, milliseconds for 10**9 multiply-adds on one thread, and these over those of the peer
that needs the fewest. Ours have random weights and the reference topologies of configs/topologies; --run adds trained
ones. A joint model is timed beside its trunk and the separate models of its tasks, with the same weights; ours are left
out unless they are named. Files are kept in --folder and used again as long as the code and the packages that made them
stay the same. With --profile it says which operators of a model cost what instead. All of it takes about an hour on two
cores, most of it for exporting.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks.exported_files import ExportedFile, exported_files, library_versions
from benchmarks.exported_joint import FAMILIES, all_candidates
from benchmarks.exported_profile import profile, profile_text
from benchmarks.exported_table import latency_csv, latency_text
from benchmarks.exported_timing import measure, on_busy_machine
from benchmarks.processes import yielded_by

from fbnetv5.base.errors import InputError, nearest, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.export.formats import PRECISIONS, SUFFIXES
from fbnetv5.latency.measure import device_name

RUNTIMES = ("executorch", "onnx")


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)  # of this process, which is forked
    files = _exported(options)
    if options.profile:
        results = _profiles(files)
    else:
        timings = measure(files, options.threads, rounds=options.rounds, seconds=options.seconds, say=say)
        timings = on_busy_machine(timings) if options.busy else timings
        print(latency_text(timings))
        if options.csv:
            write_text(options.csv, latency_csv(timings))
        results = {"timings": [{**asdict(timing), "ms": timing.ms} for timing in timings]}
    if options.output:
        write_text(options.output, json.dumps({**_conditions(), **results}, indent=2) + "\n")


def _exported(options: argparse.Namespace) -> list[ExportedFile]:
    """Return the files of the chosen models, runtimes and precisions, exporting what is missing."""
    known = all_candidates(options.run)
    usual = [name for name, each in known.items() if each.joint not in FAMILIES]
    chosen = [options.profile] if options.profile else (options.models or usual)
    for name in chosen:
        if name not in known:
            raise InputError(f"there is no model '{name}'{nearest(name, known)} (there are: {', '.join(known)})")
    parts = [] if options.profile else [name for name, each in known.items() if each.joint in chosen]
    names = list(dict.fromkeys([*chosen, *parts]))
    # in a process of its own: this one stays small and without threads, as those that time are its forks
    written = yielded_by(_export, names, options.run, options.runtimes, options.precisions, options.folder)
    start, total = time.monotonic(), len(names) * len(options.runtimes) * len(options.precisions)
    files: list[ExportedFile] = []
    for file in written:
        files.append(file)
        left = (time.monotonic() - start) / len(files) * (total - len(files))
        say(
            f"file {len(files)} of {total}: {Path(file.path).name}, {file.num_bytes / 1e6:.1f} MB, about "
            f"{left / 60:.0f} minutes left for the others"
        )
    return files


def _export(
    names: Sequence[str], runs: Sequence[Path], runtimes: Sequence[str], precisions: Sequence[str], folder: Path
) -> Iterator[ExportedFile]:
    known = all_candidates(runs)
    return exported_files([known[name] for name in names], runtimes, precisions, folder)


def _profiles(files: Sequence[ExportedFile]) -> dict[str, Any]:
    """Profile the files, print a table each, and return the figures as plain data."""
    results = []
    for file in files:
        rows = profile(file)
        print(profile_text(file, rows), flush=True)
        results.append({"file": asdict(file), "operators": [asdict(row) for row in rows]})
    return {"profiles": results}


def _conditions() -> dict[str, Any]:
    device = device_name(torch.device("cpu"))
    return {"device": device, "cores": os.cpu_count(), "versions": library_versions()}


def say(line: str) -> None:
    """Tell how far it is; results alone go to stdout."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--models", nargs="+", metavar="NAME", help="of the models, or of a run's folder (default: all but joint ones)")
    add("--run", nargs="+", type=Path, default=[], metavar="FOLDER", help="trained models to time too")
    add("--runtimes", nargs="+", choices=tuple(SUFFIXES), default=RUNTIMES, help="(default: executorch onnx)")
    add("--precisions", nargs="+", choices=PRECISIONS, default=("fp32", "int8"), help="(default: fp32 int8)")
    add("--threads", nargs="+", type=at_least(1), default=(1, 2), metavar="N", help="CPU threads (default: 1 2)")
    add("--rounds", type=at_least(1), default=11, help="turns of each file; medians are shown (default: 11)")
    add("--seconds", type=float, default=0.2, help="that a turn takes (default: 0.2; at least three calls)")
    add("--busy", action="store_true", help="other work goes on: CPU time on one thread, the fastest call on several")
    add("--profile", metavar="NAME", help="say which operators of this model cost what, and time nothing else")
    add("--folder", type=Path, default=Path("runs/bench_exported"), metavar="DIR", help="of the exported files")
    add("--csv", type=Path, metavar="FILE", help="write the tables' figures there, a row a file and number of threads")
    add("--output", type=Path, metavar="FILE", help="write the figures there as JSON too")
    return parser


if __name__ == "__main__":
    main()
