"""Peak memory of an iteration, each number of tasks in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.runs import build, load_batches, with_num_tasks
from benchmarks.tables import aligned
from fbnetv5.base.distributed import start_world
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs.supernet import supernet_step

NUM_STEPS = 2  # the second one finds the optimiser's momentum in place


@dataclass(frozen=True)
class PeakMemory:
    """Bytes: resident of the process on a CPU, allocated by torch on a GPU.

    Attributes:
        before: the peak before the first iteration, with libraries, supernet and a batch loaded.
        peak: the peak after two iterations.
    """

    num_tasks: int
    device: str
    before: int
    peak: int


def measure_memory(config: RunConfig, counts: Sequence[int], threads: int) -> list[PeakMemory]:
    """Measure each number of tasks in a fresh process.

    Call it before anything large is built: on Linux a process starts with its parent's size as its peak.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        work = [(with_num_tasks(config, count), count, threads) for count in sorted(counts)]
        return pool.starmap(_measure, work, chunksize=1)


def _measure(config: RunConfig, num_tasks: int, threads: int) -> PeakMemory:
    with start_world(config.runtime.device, threads, config.runtime.tf32) as world:
        run = build(config, world)
        (batch,) = load_batches(config, run.source, run.model, world, 1)
        before = _peak_bytes(world.device)
        for step in range(NUM_STEPS):
            supernet_step(run, step, batch)
        return PeakMemory(num_tasks, world.device.type, before, _peak_bytes(world.device))


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_text(results: Sequence[PeakMemory]) -> str:
    """Return the table."""
    rows = [
        (str(r.num_tasks), *(f"{value / 2**20:.0f}" for value in (r.before, r.peak, r.peak - r.before)))
        for r in results
    ]
    what = "allocated on the GPU" if results[0].device == "cuda" else "resident, libraries included"
    header = ("tasks", "MiB before", "MiB peak", "added")
    return f"{aligned(header, rows)}\n  {what}; each in its own process, {NUM_STEPS} iterations"
