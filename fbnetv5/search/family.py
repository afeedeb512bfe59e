"""A family from one search: the architectures that score best for what they cost, for a row of budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fbnetv5.search.last_look import Choices, best_architectures
from fbnetv5.search.regression import Worth
from fbnetv5.search.space import SearchSpace, cost_of, limit_of

BETWEEN = 3  # budgets of a shortlist to one of a family


def budgets_of(space: SearchSpace, worth: Worth, derived: Choices, count: int) -> list[float]:
    """Return ``count`` budgets, at least 2, evenly from what the cheapest architecture costs to what the best does.

    The best is that by prediction, or the derived one, whichever costs more.
    """
    cheapest = sum(min(costs) for costs in space.option_costs)
    (best,) = best_architectures(space, worth)
    return np.linspace(cheapest, max(cost_of(space, best), cost_of(space, derived)), count).tolist()


def shortlist(space: SearchSpace, worth: Worth, budgets: Sequence[float]) -> list[Choices]:
    """Return the architectures that are the best by prediction under each budget, and under some between, each once."""
    places = np.linspace(0, len(budgets) - 1, BETWEEN * (len(budgets) - 1) + 1)
    between = np.interp(places, range(len(budgets)), budgets).tolist()
    return list(dict.fromkeys(best_architectures(space, worth, budget=budget)[0] for budget in between))


def best_by_cost(space: SearchSpace, scores: Mapping[Choices, float], budgets: Sequence[float]) -> list[Choices]:
    """Return at most as many architectures as there are budgets, the cheapest first, of which no cheaper one scores as
    well.

    They are those that score best under each budget, some of which may be the same, and in the place of these others
    that are better than all cheaper ones, where costs lie farthest apart.

    Args:
        space: costs the options.
        scores: of architectures, lower is better; some of them keep to every budget.
        budgets: ascending.
    """
    costs = {one: cost_of(space, one) for one in scores}
    front: list[Choices] = []
    for one in sorted(scores, key=lambda one: (costs[one], scores[one])):
        if costs[one] <= limit_of(budgets[-1]) and (not front or scores[one] < scores[front[-1]]):
            front.append(one)
    chosen = {next(one for one in reversed(front) if costs[one] <= limit_of(budget)) for budget in budgets}
    while len(chosen) < min(len(budgets), len(front)):
        left = [one for one in front if one not in chosen]
        chosen.add(max(left, key=lambda one: min(abs(costs[one] - costs[other]) for other in chosen)))
    return [one for one in front if one in chosen]
