"""The least sums over options and pairs of options, exactly, by branch and bound; far faster than an integer programme.

Slots are decided one after the other. What a partial architecture can still reach is bounded from below: what it has
decided, for every open slot its best option beside what is decided with half of its best pair with every other open
slot, and the least cost. Partial architectures whose bound is above what some architectures are known to reach are
dropped; all others of a level are kept, the frontier.

Shapes: B slots, O options of the slot that has most, F partial architectures of the frontier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LIMIT = 200_000
DESCENTS = 8


@dataclass(frozen=True)
class Sums:
    """What is to be small.

    Attributes:
        num_options: of each slot, int64 [B].
        options: of what is chosen, [B, O]; infinite where a slot has no such option.
        pairs: of each two chosen options, [B, O, B, O], symmetric, 0 within a slot.
        costs: of the options, [B, O].
        of_cost: what the cost of an architecture adds, of costs [...]; it never falls, and may become infinite.
    """

    num_options: npt.NDArray[np.int64]
    options: Array
    pairs: Array
    costs: Array
    of_cost: Callable[[Array], Array]


def least_by_frontier(sums: Sums, count: int, limit: int = LIMIT) -> list[tuple[int, ...]] | None:
    """Return the ``count`` architectures of the least sums, the least first; fewer if the space has fewer.

    Args:
        sums: what is to be small; what adds infinity is no architecture.
        count: how many.
        limit: partial architectures at a time.

    Returns:
        None where the frontier would exceed the limit.
    """
    known = _descents(sums)
    threshold = known[count - 1] + 1e-9 * max(1.0, abs(known[count - 1])) if len(known) >= count else np.inf
    order = _order(sums)
    halves = _best_of_slots(sums) / 2  # [B, O, B]
    cheapest = np.where(np.isfinite(sums.options), sums.costs, np.inf).min(axis=1)
    chosen = np.zeros((1, 0), np.int64)
    decided, cost, beside = np.zeros(1), np.zeros(1), sums.options[None]  # [F], [F], [F, B, O]
    for level, slot in enumerate(order):
        rest = order[level + 1 :]  # [open]
        parents = np.repeat(np.arange(len(decided)), sums.num_options[slot])
        option = np.tile(np.arange(sums.num_options[slot]), len(decided))
        decided = decided[parents] + beside[parents, slot, option]
        cost = cost[parents] + sums.costs[slot, option]
        ahead = beside[parents][:, rest] + sums.pairs[slot, option][:, rest]
        among = halves[rest][:, :, rest].sum(axis=2)
        bound = decided + (ahead + among).min(axis=2).sum(axis=1) + sums.of_cost(cost + cheapest[rest].sum())
        kept = (bound <= threshold) & np.isfinite(bound)
        if kept.sum() > limit:
            return None
        parents, option, decided, cost = parents[kept], option[kept], decided[kept], cost[kept]
        chosen = np.concatenate([chosen[parents], option[:, None]], axis=1)
        beside = beside[parents] + sums.pairs[slot, option]
    best = chosen[np.argsort(decided + sums.of_cost(cost), kind="stable")[:count]]
    return [tuple(row) for row in best[:, np.argsort(order)].tolist()]


def _order(sums: Sums) -> list[int]:
    """Return the slots, those that may change the sum most first."""
    influence = [
        np.ptp(sums.options[slot, :count]) + np.abs(sums.pairs[slot]).max(axis=(0, 2)).sum() / 2
        for slot, count in enumerate(sums.num_options)
    ]
    return [int(slot) for slot in np.argsort(-np.array(influence), kind="stable")]


def _best_of_slots(sums: Sums) -> Array:
    """Return the least that an option adds with any of another slot's, [B, O, B]; 0 where there is no such option."""
    absent = ~np.isfinite(sums.options)
    return np.where(absent[:, :, None], 0.0, np.where(absent, np.inf, sums.pairs).min(axis=3))


def _descents(sums: Sums) -> list[float]:
    """Return the sums of architectures that descents from a few starts pass or see beside them, the least first."""
    slots = np.arange(len(sums.num_options))
    cheapest = np.where(np.isfinite(sums.options), sums.costs, np.inf).argmin(axis=1)
    rng = np.random.default_rng(0)
    seen: dict[tuple[int, ...], float] = {}
    for start in range(DESCENTS):
        chosen = sums.options.argmin(axis=1) if start == 0 else rng.integers(sums.num_options)
        for slot in rng.permutation(slots):  # until the cost is allowed
            if not np.isfinite(sums.of_cost(sums.costs[slots, chosen].sum())):
                chosen[slot] = cheapest[slot]
        while True:
            beside = sums.options + sums.pairs[:, :, slots, chosen].sum(axis=2)  # [B, O]
            now = (sums.options[slots, chosen].sum() + beside[slots, chosen].sum()) / 2
            cost = sums.costs[slots, chosen].sum()
            values = now + beside - beside[slots, chosen][:, None]
            values += sums.of_cost(cost + sums.costs - sums.costs[slots, chosen][:, None])
            for slot, option in zip(*np.nonzero(np.isfinite(values)), strict=True):
                other = chosen.copy()
                other[slot] = option
                seen[tuple(other.tolist())] = float(values[slot, option])
            if not values.min() < now + sums.of_cost(cost) - 1e-12:
                break
            slot, option = np.unravel_index(values.argmin(), values.shape)
            chosen[slot] = option
    return sorted(seen.values())
