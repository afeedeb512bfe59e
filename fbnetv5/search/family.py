"""A family from one search: for a row of budgets the best architecture that keeps to each."""

from __future__ import annotations

import numpy as np

from fbnetv5.search.last_look import best_architectures
from fbnetv5.search.regression import Worth
from fbnetv5.search.space import SearchSpace, cost_of


def best_by_budget(space: SearchSpace, worth: Worth, count: int) -> list[tuple[int, ...]]:
    """Return at most ``count`` architectures, the cheapest first, each exactly the best by prediction at its cost.

    The budgets lie evenly between what the cheapest architecture costs and what the best of all does. Where two budgets
    have the same best, it comes once.

    Args:
        space: costs the options.
        worth: of the options, as the last look fitted it.
        count: of budgets, at least 2.
    """
    cheapest = sum(min(costs) for costs in space.option_costs)
    (best,) = best_architectures(space, worth)
    budgets = np.linspace(cheapest, cost_of(space, best), count)
    return list(dict.fromkeys(best_architectures(space, worth, budget=float(budget))[0] for budget in budgets))
