"""The cost of an iteration of FBNetV5's algorithms 2, 3 and 4 with more tasks, side by side (Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.runs import build, load_batches, with_num_tasks
from benchmarks.tables import aligned
from benchmarks.task_counts import heads_trial, network_trial, step_trial
from benchmarks.timing import median_seconds
from fbnetv5.base.distributed import World
from fbnetv5.config.schema import RunConfig

METHODS = {
    2: "fbnetv5.search.differentiable.TaskByTask",
    3: "fbnetv5.search.differentiable.SharedForward",
    4: "fbnetv5.search.algorithms.MultitaskReinforce",
}
TOLERANCE = 0.03  # what algorithm 4 may grow by beyond the added heads, as a share of its iteration with fewest tasks


@dataclass(frozen=True)
class AlgorithmTimes:
    """Median seconds of an iteration with ``num_tasks`` tasks by algorithm, and of parts of algorithm 4's alone.

    Attributes:
        network: its forward and backward passes without heads; more tasks may read more paths.
        heads: all heads and losses, forward and backward.
    """

    num_tasks: int
    algorithm_2: float
    algorithm_3: float
    algorithm_4: float
    network: float
    heads: float


def measure_algorithms(config: RunConfig, world: World, counts: Sequence[int], rounds: int) -> list[AlgorithmTimes]:
    """Time iterations of each algorithm with each number of tasks, in turn, on the same batches.

    Algorithms 3 and 4 draw the same architectures; 2 draws as many for each task. Options of ``search.algorithm`` are
    left at their defaults.
    """
    runs = {
        (count, number): build(with_num_tasks(_with_method(config, target), count), world)
        for count in counts
        for number, target in METHODS.items()
    }
    widest = runs[max(counts), 4]
    batches = load_batches(config, widest.source, widest.model, world, min(rounds, 2))
    trials = {}
    for (count, number), run in runs.items():
        trials[count, f"algorithm_{number}"] = step_trial(run, batches)
        if number == 4:
            trials[count, "network"] = network_trial(run, batches)
            trials[count, "heads"] = heads_trial(run, widest, batches)
    seconds = median_seconds(trials, rounds, world.device)
    return [
        AlgorithmTimes(count, **{part: value for (of, part), value in seconds.items() if of == count})
        for count in sorted(counts)
    ]


def _with_method(config: RunConfig, target: str) -> RunConfig:
    return replace(config, search=replace(config.search, algorithm={"_target_": target}))


def algorithms_text(results: Sequence[AlgorithmTimes]) -> str:
    """Return seconds and their ratios to the fewest tasks, and what algorithm 4 grows by beyond the added heads."""
    first = results[0]
    header = ("tasks", *(f"algorithm {n}" for n in METHODS), *(f"ratio {n}" for n in METHODS), "heads alone")
    rows = []
    for result in results:
        times, firsts = ([getattr(r, f"algorithm_{n}") for n in METHODS] for r in (result, first))
        ratios = [time / of_first for time, of_first in zip(times, firsts, strict=True)]
        rows.append(
            (
                str(result.num_tasks),
                *(f"{time:.3f} s" for time in times),
                *(f"{ratio:.2f}" for ratio in ratios),
                f"{result.heads:.3f} s",
            )
        )
    return "\n".join([aligned(header, rows), *(_beyond_heads(first, result) for result in results[1:])])


def _beyond_heads(first: AlgorithmTimes, result: AlgorithmTimes) -> str:
    """Say what algorithm 4 grows by, and whether what the added heads leave of it is within the tolerance."""
    growth = result.algorithm_4 - first.algorithm_4
    heads, network = result.heads - first.heads, result.network - first.network
    beyond = (growth - heads) / first.algorithm_4
    verdict = "within" if beyond <= TOLERANCE else "more than"
    return (
        f"  algorithm 4, {result.num_tasks} tasks over {first.num_tasks}: {growth:+.3f} s, the added heads "
        f"{heads:+.3f} s; beyond them {beyond:+.1%}, {verdict} {TOLERANCE:.0%} "
        f"(blocks that only their paths need {network:+.3f} s)"
    )
