"""The table of a family's exported parts: written as a bundle, timed or read back, and held against whole networks."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.exported_latency import (
    Comparison,
    Network,
    compare,
    comparison_text,
    draw_networks,
    exportables,
    head_entries,
    keep_rows,
)
from fbnetv5.archs.families import Family, get_family
from fbnetv5.base.errors import InputError
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.latency.bundle import TIMES, Bundle, digest_of, medians, read_bundle, read_times, write_bundle
from fbnetv5.latency.exported import device_of, file_conditions, opened_timer, table_of_bundle, timed_by
from fbnetv5.latency.part_models import part_models
from fbnetv5.latency.rounds import measure_files
from fbnetv5.latency.table import Conditions, LatencyTable
from fbnetv5.latency.timers import LocalTimer, Timer


def measure_files_table(options: argparse.Namespace) -> tuple[LatencyTable, list[Comparison]] | None:
    """Return the table of exported parts and the comparison with whole networks; None where only files are written.

    Raises:
        InputError: the input is at fault, or a file cannot be timed; what was timed is kept in the bundle's folder.
    """
    family, latency = get_family(options.family), _options(options)
    networks = draw_networks(family, options.num_stages, options.heads, options.fit, options.topologies)
    there = options.times is not None or options.no_export
    bundle = read_bundle(_folder(options)) if there else _written(options, family, latency, networks)
    if options.no_export and options.threads not in (None, bundle.conditions.threads):
        raise InputError(f"{bundle.folder} is timed with {bundle.conditions.threads} thread(s): leave out --threads")
    if options.times is not None:
        times, origin = read_times(options.times, bundle.files), options.times
    elif options.export:
        print(f"written: {bundle.folder}, {len(bundle.files)} files; give --times their milliseconds")
        return None
    else:
        origin = bundle.folder / TIMES
        with _timer(options, latency, bundle.conditions) as timer:
            steady = options.command is not None
            conditions = replace(bundle.conditions, device=device_of(latency))
            who = timed_by(conditions, "cpu" if options.busy else "wall")
            rounds = bundle.conditions.repeats
            times = measure_files(bundle.files, timer, rounds, origin, say=say, steady=steady, timed_by=who)
    known = [network for network in networks if network.name in bundle.files]
    for made in exportables(family, bundle.conditions.size, known):
        if digest_of(made, bundle.conditions) != bundle.files[made.name].digest:
            raise InputError(
                f"{bundle.folder} has another network {made.name}: give the options that it was written with"
            )
    ms = medians(times, origin)
    table, rows = compare(table_of_bundle(bundle, ms), known, ms)
    conditions = replace(table.conditions, device=device_of(latency))  # a bundle may come from another one
    if options.times is not None:
        conditions = replace(conditions, device=options.device_name, threads=options.threads)
    return replace(table, conditions=conditions), rows


def files_text(rows: list[Comparison], output: Path | None) -> str:
    """Return how well whole networks are predicted, those of earlier calls included where results are kept."""
    return comparison_text(rows if output is None else keep_rows(rows, output))


def _written(
    options: argparse.Namespace, family: Family, latency: LatencyConfig, networks: Sequence[Network]
) -> Bundle:
    size = sides(options, family)
    conditions = file_conditions(family, size, latency)
    parts = part_models(family, size, head_entries(options.heads))
    return write_bundle([*parts, *exportables(family, size, networks)], conditions, _folder(options), say)


@contextlib.contextmanager
def _timer(options: argparse.Namespace, latency: LatencyConfig, conditions: Conditions) -> Iterator[Timer]:
    if not options.busy:
        with opened_timer(latency, conditions.runtime_name, conditions.threads) as timer:
            yield timer
        return
    if latency.command is not None or conditions.threads != 1:
        raise InputError("--busy counts the CPU time of one thread of this machine: give --threads 1, and no --command")
    with LocalTimer(conditions.runtime_name, 1, "cpu") as local:
        yield local


def _options(options: argparse.Namespace) -> LatencyConfig:
    return LatencyConfig(
        repeats=options.repeats,
        runtime=options.runtime,
        precision=options.precision,
        threads=options.threads,
        command=options.command,
        device=options.device_name if options.command else None,
        pattern=options.pattern,
        timeout=options.timeout,
    )


def _folder(options: argparse.Namespace) -> Path:
    if options.bundle is not None:
        return options.bundle
    size = "x".join(map(str, sides(options, get_family(options.family))))
    name = f"{options.family.replace('/', '-')}_{options.runtime}_{options.precision}_{size}"
    return Path("runs/latency") / name


def sides(options: argparse.Namespace, family: Family) -> tuple[int, int]:
    """Return the height and width of the images in pixels."""
    given = options.size or [family.input_size]
    if len(given) > 2:
        raise InputError(f"--size={given} should be one side or a height and a width")
    return given[0], given[-1]


def say(line: str) -> None:
    """Tell how far it is; results alone go to stdout."""
    print(line, file=sys.stderr, flush=True)
