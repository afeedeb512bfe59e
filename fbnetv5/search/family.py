"""A family from one search: for a row of budgets the architecture that scores best of those that keep to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fbnetv5.search.last_look import Choices, best_architectures
from fbnetv5.search.regression import Worth
from fbnetv5.search.space import SearchSpace, cost_of, limit_of

NUM_SHORTLISTED = 3  # of a budget


def budgets_of(space: SearchSpace, worth: Worth, derived: Choices, count: int) -> list[float]:
    """Return ``count`` budgets, at least 2, evenly from what the cheapest architecture costs to what the best does.

    The best is that by prediction, or the derived one, whichever costs more.
    """
    cheapest = sum(min(costs) for costs in space.option_costs)
    (best,) = best_architectures(space, worth)
    return np.linspace(cheapest, max(cost_of(space, best), cost_of(space, derived)), count).tolist()


def shortlist(
    space: SearchSpace, worth: Worth, budgets: Sequence[float], count: int = NUM_SHORTLISTED
) -> list[Choices]:
    """Return the ``count`` architectures under each budget that are the best by prediction, exactly, each once."""
    return list(
        dict.fromkeys(one for budget in budgets for one in best_architectures(space, worth, count, budget=budget))
    )


def best_by_budget(space: SearchSpace, scores: Mapping[Choices, float], budgets: Sequence[float]) -> list[Choices]:
    """Return the architecture of the lowest score under each budget, the cheapest of equals, each once.

    So what costs more scores better. Some of those that have a score must keep to every budget.
    """
    costs = {one: cost_of(space, one) for one in scores}
    found = []
    for budget in budgets:
        inside = [one for one, cost in costs.items() if cost <= limit_of(budget)]
        found.append(min(inside, key=lambda one: (scores[one], costs[one])))
    return list(dict.fromkeys(found))
