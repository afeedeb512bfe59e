"""The best architectures of a space by a sum over options and pairs of options, exactly: an integer programme."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.search.frontier import Sums, least_by_frontier
from fbnetv5.search.space import CostTerm, SearchSpace, cost_of, dearest, limit_of

Array = npt.NDArray[np.float64]
_INFEASIBLE = 2  # scipy's status of a programme without a solution


def least_of_sum(
    space: SearchSpace,
    options: Tensor,
    pairs: Tensor | None = None,
    *,
    count: int = 1,
    budget: float | None = None,
    cost_term: CostTerm | None = None,
) -> list[tuple[int, ...]]:
    """Return the ``count`` architectures of the least sums, the least first; fewer if the space has fewer.

    Each is the exact minimum, over those that cost at most ``budget`` and are not before it, of the sum of ``options``
    of what it chooses, ``pairs`` of each two of them, and the cost term. Of equals it is the cheaper one. Branch
    and bound finds them, and an integer programme where that would take too much memory.

    Args:
        space: costs the options; every chosen option counts, also of blocks that pruning would drop.
        options: [B, O].
        pairs: [B, O, B, O], symmetric.
        count: how many.
        budget: in the unit of the space's costs; None for no limit.
        cost_term: what cost adds.

    Raises:
        InputError: even the cheapest architecture costs more.
    """
    cheapest = sum(min(row) for row in space.option_costs)
    if budget is not None and budget < cheapest:
        raise InputError(f"no architecture fits the budget of {budget:,}: the cheapest costs {cheapest:,}")
    cost_term = cost_term or CostTerm()
    none = torch.zeros(*options.shape, *options.shape, dtype=options.dtype)
    quick = least_by_frontier(_sums(space, options, none if pairs is None else pairs, budget, cost_term), count)
    if quick is not None:
        return quick
    programme = _Programme(space, options, pairs, budget, cost_term)
    found: list[tuple[int, ...]] = []
    over: list[tuple[int, ...]] = []  # the budget, by less than the solver tells
    while len(found) < count and (best := programme.solve([*found, *over])) is not None:
        fits = budget is None or cost_of(space, best) <= limit_of(budget)
        (found if fits else over).append(best)
    return found


def _sums(space: SearchSpace, options: Tensor, pairs: Tensor, budget: float | None, cost_term: CostTerm) -> Sums:
    num_options = np.array(space.num_options)
    absent = np.arange(options.shape[1]) >= num_options[:, None]
    costs = np.zeros(absent.shape)
    for slot, own in enumerate(space.option_costs):
        costs[slot, : len(own)] = own
    whole = dearest(space)

    def of_cost(cost: Array) -> Array:
        term = cost_term.weight * np.maximum(cost / whole - cost_term.target, 0.0)
        return term if budget is None else np.where(cost <= limit_of(budget), term, np.inf)

    singles = np.where(absent, np.inf, options.numpy() + _frugality(costs))
    return Sums(num_options, singles, pairs.numpy(), costs, of_cost)


def _frugality(costs: Array) -> Array:
    """Return what makes of equally good options the cheaper one the better."""
    return 1e-9 * costs / max(float(costs.sum()), 1.0)


class _Programme:
    """The integer programme of :func:`least_of_sum`.

    Its variables are a binary one for each option of each slot, the products of two of them that matter, and how far
    the cost's share is above the cost term's target.
    """

    def __init__(
        self, space: SearchSpace, options: Tensor, pairs: Tensor | None, budget: float | None, cost_term: CostTerm
    ) -> None:
        self.singles = [(slot, option) for slot, count in enumerate(space.num_options) for option in range(count)]
        self.place = {single: number for number, single in enumerate(self.singles)}
        self.num_slots = len(space.num_options)
        products = [
            (one, two)
            for one, two in itertools.combinations(self.singles, 2)
            if pairs is not None and one[0] != two[0] and pairs[one + two]
        ]
        self.width = len(self.singles) + len(products) + 1
        costs = np.array([space.option_costs[slot][option] for slot, option in self.singles])
        singles = np.array([float(options[single]) for single in self.singles]) + _frugality(costs)
        together = [] if pairs is None else [float(pairs[one + two]) for one, two in products]
        self.objective = np.concatenate([singles, together, [cost_term.weight]])
        self.constraints = [self._one_option_a_slot(), *self._products(products)]
        if cost_term.weight > 0:
            share = dict(enumerate(costs / dearest(space)))
            self.constraints.append(LinearConstraint(self._row({**share, self.width - 1: -1.0}), ub=cost_term.target))
        if budget is not None:
            shares = self._row(dict(enumerate(costs / dearest(space))))  # of numbers near 1, as solvers want them
            self.constraints.append(LinearConstraint(shares, ub=limit_of(budget) / dearest(space)))

    def solve(self, excluded: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """Return the best architecture that is none of those excluded; None if there is no other."""
        integrality = np.zeros(self.width)
        integrality[: len(self.singles)] = 1
        others = [
            LinearConstraint(self._row({self.place[single]: 1.0 for single in enumerate(one)}), ub=self.num_slots - 1)
            for one in excluded
        ]
        solution = milp(
            self.objective,
            integrality=integrality,
            bounds=Bounds(0, 1),
            constraints=self.constraints + others,
            options={"mip_rel_gap": 0.0},
        )
        if solution.status == _INFEASIBLE and excluded:
            return None
        if not solution.success:
            raise RuntimeError(f"the integer programme was not solved: {solution.message}")
        chosen = [self.singles[number] for number in np.flatnonzero(solution.x[: len(self.singles)] > 0.5)]
        return tuple(option for _, option in sorted(chosen))

    def _one_option_a_slot(self) -> LinearConstraint:
        rows = [
            self._row({self.place[single]: 1.0 for single in self.singles if single[0] == slot})
            for slot in range(self.num_slots)
        ]
        return LinearConstraint(np.array(rows), 1, 1)

    def _products(self, products: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> list[LinearConstraint]:
        """Return that a product is at most each of its factors, and 1 where both are."""
        if not products:
            return []
        rows, lower, upper = [], [], []
        for number, (one, two) in enumerate(products, start=len(self.singles)):
            first, second = self.place[one], self.place[two]
            rows += [self._row({number: 1.0, first: -1.0}), self._row({number: 1.0, second: -1.0})]
            rows.append(self._row({number: 1.0, first: -1.0, second: -1.0}))
            lower += [-np.inf, -np.inf, -1.0]
            upper += [0.0, 0.0, np.inf]
        return [LinearConstraint(np.array(rows), lower, upper)]

    def _row(self, entries: Mapping[int, float]) -> Array:
        row = np.zeros(self.width)
        row[list(entries)] = list(entries.values())
        return row
