"""Branch and bound against the enumeration of all architectures, and against the integer programme."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fbnetv5.search.frontier import Sums, least_by_frontier
from fbnetv5.search.programme import _Programme, _sums, least_of_sum
from fbnetv5.search.space import CostTerm, cost_of
from tests.search.landscape import BinarySpace


def random_sums(num_options: tuple[int, ...], seed: int, budget: float) -> Sums:
    rng = np.random.default_rng(seed)
    slots, most = len(num_options), max(num_options)
    absent = np.arange(most) >= np.array(num_options)[:, None]
    pairs = rng.standard_normal((slots, most, slots, most))
    pairs += pairs.transpose(2, 3, 0, 1)
    pairs[np.arange(slots), :, np.arange(slots)] = 0
    pairs[absent], pairs[:, :, absent] = 0, 0
    options = np.where(absent, np.inf, rng.standard_normal((slots, most)))

    def of_cost(cost: np.ndarray) -> np.ndarray:
        return np.where(cost <= budget, 2.0 * np.maximum(cost - 1.0, 0.0), np.inf)

    return Sums(np.array(num_options), options, pairs, rng.random((slots, most)), of_cost)


def value(sums: Sums, chosen: tuple[int, ...]) -> float:
    singles = list(enumerate(chosen))
    total = sum(sums.options[one] for one in singles)
    total += sum(sums.pairs[one + two] for one, two in itertools.combinations(singles, 2))
    return float(total + sums.of_cost(np.array(sum(sums.costs[one] for one in singles))))


@pytest.mark.parametrize("num_options", [(2,) * 9, (3, 2, 4, 1, 3)])
@pytest.mark.parametrize("budget", [np.inf, 4.0, 2.0, 0.01])
def test_the_best_are_those_of_the_enumeration(num_options: tuple[int, ...], budget: float) -> None:
    for seed in range(5):
        sums = random_sums(num_options, seed, budget)
        every = sorted(value(sums, chosen) for chosen in itertools.product(*map(range, num_options)))
        found = least_by_frontier(sums, 10)
        assert found is not None
        assert len(set(found)) == len(found) == min(10, int(np.isfinite(every).sum()))
        np.testing.assert_allclose([value(sums, chosen) for chosen in found], every[: len(found)], atol=1e-9)


def test_fewer_are_found_where_the_space_has_fewer() -> None:
    assert len(least_by_frontier(random_sums((2, 2), 0, np.inf), 10) or ()) == 4


def test_a_frontier_above_the_limit_is_left_to_the_integer_programme() -> None:
    assert least_by_frontier(random_sums((2,) * 9, 0, np.inf), 10, limit=3) is None


def test_budgets_of_millions_near_a_cost_are_kept_with_and_without_the_frontier(monkeypatch):
    """Solvers allow for a part in a million, and call a budget that is kept by less no solution."""
    space, options = BinarySpace((305848565.0, 685174763.0, 974155838.0, 368841776.0) * 2), torch.zeros(8, 2)
    options[:, 1] = -torch.tensor([0.31, 0.72, 1.03, 0.44, 0.25, 0.96, 1.17, 0.58])
    budgets = (1359865090.4, 685174763.0 - 1, 305848565.0 + 974155838.0, 3e9)
    found = [least_of_sum(space, options, budget=budget) for budget in budgets]
    for (one,), budget in zip(found, budgets, strict=True):
        assert cost_of(space, one) <= budget
    monkeypatch.setattr("fbnetv5.search.programme.least_by_frontier", lambda *_: None)
    assert [least_of_sum(space, options, budget=budget) for budget in budgets] == found


@pytest.mark.parametrize("budget", [None, 3.0])
def test_it_finds_what_the_integer_programme_finds(budget: float | None) -> None:
    space, term = BinarySpace((1.0, 0.3, 0.7, 2.0, 0.1, 1.5)), CostTerm(1.5, 0.3)
    whole = random_sums((2,) * 6, 3, np.inf)
    options, pairs = torch.from_numpy(whole.options), torch.from_numpy(whole.pairs)
    found = least_by_frontier(_sums(space, options, pairs, budget, term), 5)
    programme = _Programme(space, options, pairs, budget, term)
    expected: list[tuple[int, ...]] = []
    for _ in range(5):
        best = programme.solve(expected)
        assert best is not None
        expected.append(best)
    assert found == expected
