"""From the probabilities of a task to architectures: the most likely, the most likely under a budget, samples."""

from __future__ import annotations

import torch
from torch import Tensor

from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.programme import least_of_sum
from fbnetv5.search.space import SearchSpace


def most_likely(probabilities: Tensor) -> tuple[int, ...]:
    """Return the likeliest option of each slot, from [B, O]; of equals the first, so 0.5 means skip."""
    return tuple(int(option) for option in probabilities.numpy().argmax(axis=1))


def most_likely_within(probabilities: Tensor, space: SearchSpace, budget: float) -> tuple[int, ...]:
    """Return the likeliest architecture whose cost is at most ``budget``, exactly.

    Args:
        probabilities: of one task, [B, O].
        space: costs the options; every chosen option counts, also of blocks that pruning would drop.
        budget: in the unit of the space's costs.

    Raises:
        InputError: even the cheapest architecture costs more.
    """
    return least_of_sum(space, -probabilities.log(), budget=budget)[0]


def sample(
    distribution: ArchitectureDistribution, task: int, count: int, generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Draw ``count`` architectures from one task's distribution."""
    return [tuple(distribution.sample_task(task, generator).tolist()) for _ in range(count)]
