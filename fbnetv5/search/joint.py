"""The best architectures of several tasks under one budget for the sum of their costs.

The budget is all that ties the tasks. With a price on cost each task is a problem of its own, and prices bound what any
choice can reach (Lagrange). What the bound leaves open, few architectures a task, is searched through.

Shapes: T tasks, B slots.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fbnetv5.base.errors import InputError
from fbnetv5.search.programme import least_of_sum
from fbnetv5.search.regression import Worth
from fbnetv5.search.space import CostTerm, SearchSpace, cost_of, dearest, limit_of

HALVINGS = 12  # of the price
MOST = 512  # architectures of a task that are tried with those of the others
SLACK = 1e-9  # of a value, for rounding

Choices = tuple[int, ...]


@dataclass(frozen=True)
class Joint:
    """One architecture a task.

    Attributes:
        choices: of each task.
        cost: their sum.
        shortfall: by how much a better choice may exist at most, in weighted deviations; 0 where this is the best.
    """

    choices: tuple[Choices, ...]
    cost: float
    shortfall: float


def best_together(
    space: SearchSpace, worths: Sequence[Worth], budget: float, weights: Sequence[float] | None = None
) -> Joint:
    """Return the architectures of the least weighted sum of predicted scores that cost at most ``budget`` together.

    A score counts in deviations over all architectures of its task.

    Args:
        space: of every task; costs the options.
        worths: of the options, a task each.
        budget: for the sum of the costs, in the unit of the space's.
        weights: of the tasks, above 0; by default 1.

    Raises:
        InputError: even the cheapest architectures cost more together.
    """
    tasks = [_Task(space, worth, weight) for worth, weight in zip(worths, weights or [1.0] * len(worths), strict=True)]
    cheapest = len(tasks) * sum(min(costs) for costs in space.option_costs)
    if budget < cheapest:
        raise InputError(f"no topologies fit the joint budget of {budget:,}: the cheapest cost {cheapest:,} together")
    limit = limit_of(budget)
    price, known = _least_price(tasks, limit)
    if price == 0.0:
        return _joint(space, known, 0.0)
    bound = sum(task.least(price) for task in tasks) - price * limit  # no choice that keeps to the limit is below
    gap = _value(tasks, known) - bound
    lists, missed = zip(*(task.within(price, gap) for task in tasks), strict=True)
    best = _best_of(tasks, lists, limit) or known
    return _joint(space, best, max(0.0, _value(tasks, best) - bound) if any(missed) else 0.0)


class _Task:
    """One task: the values of architectures, with and without a price on their cost."""

    def __init__(self, space: SearchSpace, worth: Worth, weight: float) -> None:
        scale = weight / worth.scale()
        self.space = space
        self.worth = worth
        self.scale = scale
        self.options, self.pairs = worth.options * scale, worth.pairs * scale

    def best(self, price: float, count: int = 1) -> list[Choices]:
        """Return the ``count`` architectures of the least value and price x cost, the least first."""
        term = CostTerm(weight=price * dearest(self.space))
        return least_of_sum(self.space, self.options, self.pairs, count=count, cost_term=term)

    def value(self, choices: Choices) -> float:
        """Return the predicted score of an architecture beside the mean, in weighted deviations."""
        return float(self.worth.predict(torch.tensor([choices]))[0] - self.worth.mean) * self.scale

    def priced(self, choices: Choices, price: float) -> float:
        return self.value(choices) + price * cost_of(self.space, choices)

    def least(self, price: float) -> float:
        return self.priced(self.best(price)[0], price)

    def within(self, price: float, gap: float) -> tuple[list[Choices], bool]:
        """Return all architectures whose priced value is within ``gap`` of the least, and whether some are missed."""
        count = 8
        while True:
            found = self.best(price, count)
            least = self.priced(found[0], price)
            kept = [one for one in found if self.priced(one, price) <= least + gap + SLACK]
            if len(kept) < len(found) or len(found) < count:
                return kept, False
            if count >= MOST:
                return kept, True
            count *= 4


def _least_price(tasks: Sequence[_Task], limit: float) -> tuple[float, list[Choices]]:
    """Return about the least price at which the tasks' own best keep to the limit, and these; 0 if they do anyway."""

    def best(price: float) -> tuple[list[Choices], bool]:
        chosen = [task.best(price)[0] for task in tasks]
        return chosen, sum(cost_of(task.space, one) for task, one in zip(tasks, chosen, strict=True)) <= limit

    chosen, fits = best(0.0)
    if fits:
        return 0.0, chosen
    low, high = 0.0, 1.0 / dearest(tasks[0].space)
    while not (found := best(high))[1]:
        low, high = high, 4 * high
        if high > 1e12:
            return high, [_cheapest(task.space) for task in tasks]
    chosen = found[0]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = best(middle)
        low, high = (low, middle) if found[1] else (middle, high)
        chosen = found[0] if found[1] else chosen
    return high, chosen


def _cheapest(space: SearchSpace) -> Choices:
    return tuple(costs.index(min(costs)) for costs in space.option_costs)


def _best_of(tasks: Sequence[_Task], lists: Sequence[Sequence[Choices]], limit: float) -> list[Choices] | None:
    """Return the best combination of one architecture a task that keeps to the limit; None if none does.

    Of the combinations of the first tasks only those are kept that no other is cheaper than and as good as.
    """
    partial: list[tuple[float, float, list[Choices]]] = [(0.0, 0.0, [])]  # cost, value, choices
    for task, own in zip(tasks, lists, strict=True):
        priced = [(cost_of(task.space, one), task.value(one), one) for one in own]
        every = [
            (cost + more, value + worth, [*chosen, one])
            for (cost, value, chosen), (more, worth, one) in itertools.product(partial, priced)
            if cost + more <= limit
        ]
        partial = _front(every)
    return partial[-1][2] if partial else None


def _front(entries: list[tuple[float, float, list[Choices]]]) -> list[tuple[float, float, list[Choices]]]:
    """Return the entries that no other one is cheaper than and as good as, the cheapest first, the best last."""
    kept: list[tuple[float, float, list[Choices]]] = []
    for entry in sorted(entries, key=lambda each: each[:2]):
        if not kept or entry[1] < kept[-1][1]:
            kept.append(entry)
    return kept


def _value(tasks: Sequence[_Task], choices: Sequence[Choices]) -> float:
    return sum(task.value(one) for task, one in zip(tasks, choices, strict=True))


def _joint(space: SearchSpace, choices: Sequence[Choices], shortfall: float) -> Joint:
    return Joint(tuple(choices), sum(cost_of(space, one) for one in choices), shortfall)
