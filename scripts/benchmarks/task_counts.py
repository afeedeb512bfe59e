"""The cost of an iteration of the search with more tasks, and what of it the added heads are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.runs import architectures, autocast, backward_from_features, build, load_batches, with_num_tasks
from benchmarks.tables import aligned
from benchmarks.timing import Trial, median_seconds
from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.base.types import Batch
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs.supernet import SupernetRun, supernet_step
from fbnetv5.tasks.multitask import MultitaskNet


@dataclass(frozen=True)
class TaskCount:
    """Median seconds of an iteration with ``num_tasks`` tasks, and of two parts of it timed alone."""

    num_tasks: int
    step: float
    network: float
    heads: float

    @property
    def rest(self) -> float:
        """Neither: drawing, weights, the optimiser, the update of the logits, and what timing apart leaves."""
        return self.step - self.network - self.heads


class Replay(nn.Module):
    """A network that returns the features it was given, for heads to be run alone."""

    def __init__(self, features: dict[int, Tensor]) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor, topology: Topology | None = None) -> dict[int, Tensor]:
        """Return path to feature, [N, C, h, w], whatever the images."""
        return self.features


def measure_task_counts(config: RunConfig, world: World, counts: Sequence[int], rounds: int) -> list[TaskCount]:
    """Time iterations with each number of tasks, in turn, on the same batches, architectures and features."""
    runs = [build(with_num_tasks(config, count), world) for count in counts]
    widest = max(runs, key=lambda run: len(run.model.tasks))
    batches = load_batches(config, widest.source, widest.model, world, min(rounds, 2))
    trials = {}
    for run in runs:
        count = len(run.model.tasks)
        trials[count, "step"] = step_trial(run, batches)
        trials[count, "network"] = network_trial(run, batches)
        trials[count, "heads"] = heads_trial(run, widest, batches)
    seconds = median_seconds(trials, rounds, world.device)
    return [
        TaskCount(count, *(seconds[count, part] for part in ("step", "network", "heads"))) for count in sorted(counts)
    ]


def step_trial(run: SupernetRun, batches: Sequence[Batch]) -> Trial:
    """The whole iteration."""

    def step(number: int) -> None:
        supernet_step(run, number, batches[number % len(batches)])

    return Trial(step, prepare=lambda number: number)


def network_trial(run: SupernetRun, batches: Sequence[Batch]) -> Trial:
    """The iteration's forward and backward passes without heads."""

    def prepare(number: int) -> list[tuple[Tensor, Topology]]:
        run.model.zero_grad(set_to_none=True)
        parts = batches[number % len(batches)].split(run.config.search.num_samples)
        return [(part.images, arch) for part, arch in zip(parts, architectures(run, number), strict=True)]

    def passes(work: list[tuple[Tensor, Topology]]) -> None:
        for images, topology in work:
            with autocast(run.config, run.world.device):
                features = run.model.network(images, topology)
            backward_from_features(features.values())

    return Trial(passes, prepare)


def heads_trial(run: SupernetRun, widest: SupernetRun, batches: Sequence[Batch]) -> Trial:
    """The iteration's heads and losses, forward and backward, on the features of ``widest``'s network."""

    def prepare(number: int) -> list[tuple[MultitaskNet, Batch]]:
        run.model.zero_grad(set_to_none=True)
        parts = batches[number % len(batches)].split(run.config.search.num_samples)
        work = []
        for part, topology in zip(parts, architectures(widest, number), strict=True):
            with torch.no_grad(), autocast(run.config, run.world.device):
                features = widest.model.network(part.images, topology)
            leaves = {path: feature.requires_grad_() for path, feature in features.items()}
            work.append((MultitaskNet(Replay(leaves), run.model.tasks, run.model.heads), part))  # type: ignore[arg-type]
        return work

    def passes(work: list[tuple[MultitaskNet, Batch]]) -> None:
        for heads, part in work:
            with autocast(run.config, run.world.device):
                losses = heads(part.images, part.targets)
            if losses:
                torch.stack(list(losses.values())).sum().backward()

    return Trial(passes, prepare)


def task_counts_text(results: Sequence[TaskCount]) -> str:
    """Return the table, and for each growth over the fewest tasks what explains it."""
    first = results[0]
    header = ("tasks", "s/iteration", "ratio", "network alone", "heads alone", "rest")
    rows = [
        (
            str(r.num_tasks),
            f"{r.step:.3f}",
            f"{r.step / first.step:.2f}",
            *(f"{value:.3f}" for value in (r.network, r.heads, r.rest)),
        )
        for r in results
    ]
    return "\n".join([aligned(header, rows), *(_growth(first, result) for result in results[1:])])


def _growth(first: TaskCount, result: TaskCount) -> str:
    growth, heads = result.step - first.step, result.heads - first.heads
    return (
        f"  {result.num_tasks} tasks over {first.num_tasks}: {growth:+.3f} s; the added heads explain {heads:+.3f} s "
        f"({heads / growth:.0%}), blocks that only their paths need {result.network - first.network:+.3f} s, "
        f"the rest {result.rest - first.rest:+.3f} s"
    )
