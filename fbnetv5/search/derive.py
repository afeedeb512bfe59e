"""From the probabilities of a task to architectures: the most likely, the most likely under a budget, samples."""

from __future__ import annotations

import numpy
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.space import SearchSpace


def most_likely(probabilities: Tensor) -> tuple[int, ...]:
    """Return the likeliest option of each slot, from [B, O]; of equals the first, so 0.5 means skip."""
    return tuple(int(option) for option in probabilities.numpy().argmax(axis=1))


def most_likely_within(probabilities: Tensor, space: SearchSpace, budget: float) -> tuple[int, ...]:
    """Return the likeliest architecture whose cost is at most ``budget``, solved exactly as an integer programme.

    Args:
        probabilities: of one task, [B, O].
        space: costs the options; every chosen option counts, also of blocks that pruning would drop.
        budget: in the unit of the space's costs.

    Raises:
        InputError: even the cheapest architecture costs more.
    """
    slots, options = zip(*[(b, o) for b, num in enumerate(space.num_options) for o in range(num)], strict=True)
    costs = numpy.array([space.option_costs[b][o] for b, o in zip(slots, options, strict=True)])
    cheapest = sum(min(row) for row in space.option_costs)
    if budget < cheapest:
        raise InputError(f"no architecture fits the budget of {budget:,}: the cheapest costs {cheapest:,}")
    log_likelihood = probabilities[list(slots), list(options)].log().numpy()
    frugality = 1e-9 * costs / max(float(costs.sum()), 1.0)  # of equally likely options, the cheaper one
    one_option_a_slot = (numpy.arange(len(space.num_options))[:, None] == numpy.array(slots)).astype(float)
    solution = milp(
        -log_likelihood + frugality,
        integrality=numpy.ones(len(costs)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_option_a_slot, 1, 1), LinearConstraint(costs, ub=budget)],
        options={"mip_rel_gap": 0.0},
    )
    if not solution.success:
        raise RuntimeError(f"the integer programme was not solved: {solution.message}")
    return tuple(options[i] for i in numpy.flatnonzero(solution.x > 0.5))


def sample(
    distribution: ArchitectureDistribution, task: int, count: int, generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Draw ``count`` architectures from one task's distribution."""
    return [tuple(distribution.sample_task(task, generator).tolist()) for _ in range(count)]
