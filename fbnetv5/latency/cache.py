"""Latency tables that outlive a run: one file for each device, network and input, in the user's cache folder.

Files are written atomically, and what measures one makes others that want it wait, so any number of processes may share
the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from iopath.common.file_io import file_lock
from portalocker import LockException

from fbnetv5.archs.families import Family
from fbnetv5.base.errors import InputError
from fbnetv5.latency.measure import Clock, measure_latency
from fbnetv5.latency.table import Conditions, LatencyTable

FOLDER = "latency"  # below the program's cache


def cache_file(conditions: Conditions, folder: Path) -> Path:
    """Return the file of the tables of these conditions."""
    digest = hashlib.sha256(json.dumps(asdict(conditions), sort_keys=True).encode()).hexdigest()[:16]
    family = conditions.family.replace("/", "-")
    return folder / f"{family}_{'x'.join(map(str, conditions.size))}_{digest}.json"


def load_or_measure(
    family: Family,
    conditions: Conditions,
    device: torch.device,
    folder: Path,
    clock: Clock = time.perf_counter,
    measure: Callable[[], LatencyTable] | None = None,
) -> LatencyTable:
    """Return the table in ``folder``, or measure it and keep it there.

    A file that is damaged is measured anew, and a folder that cannot be written is done without; both with a warning on
    stderr. ``measure`` does so otherwise than with torch on ``device``.
    """
    file = cache_file(conditions, folder)
    with _alone(file):
        if file.exists():
            try:
                table = LatencyTable.load(file)
                if table.conditions == conditions:
                    print(f"latencies were measured before, on {conditions}: {file}")
                    return table
                print(f"warning: {file} was measured under other conditions; measuring anew", file=sys.stderr)
            except InputError as error:
                print(f"warning: {error}; measuring anew", file=sys.stderr)
        table = measure_latency(family, conditions, device, clock) if measure is None else measure()
        keep(table, folder)
        return table


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Wait until no other process measures the table of a file, an hour at most, and keep others waiting meanwhile.

    Searches that start together would time each other. Where no lock can be had, go on without.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, LockException):
            stack.enter_context(file_lock(str(file)))
        yield


def keep(table: LatencyTable, folder: Path) -> None:
    """Write a table to its file in ``folder``; where that fails, warn on stderr."""
    try:
        table.save(cache_file(table.conditions, folder))
    except InputError as error:
        print(f"warning: latencies are not cached: {error}", file=sys.stderr)
