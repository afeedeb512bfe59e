"""Derived architectures against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.search.derive import most_likely, most_likely_within, sample
from fbnetv5.search.distribution import ArchitectureDistribution
from tests.search.landscape import BinarySpace


def random_probabilities(num_slots: int, seed: int) -> torch.Tensor:
    select = torch.rand(num_slots, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([1 - select, select], dim=1).clamp(0.02, 0.98)


def test_half_derives_to_skip():
    probabilities = torch.tensor([[0.5, 0.5], [0.49, 0.51], [0.51, 0.49]])
    assert most_likely(probabilities) == (0, 1, 0)


@pytest.mark.parametrize("seed", range(10))
def test_budget_is_solved_exactly(seed):
    rng = torch.Generator().manual_seed(100 + seed)
    costs = tuple((1e6 * (1 + 50 * torch.rand(10, generator=rng, dtype=torch.float64))).round().tolist())
    probabilities = random_probabilities(10, seed)
    space = BinarySpace(costs)
    budget = 0.4 * sum(costs)

    def log_likelihood(choices):
        return sum(float(probabilities[b, o].log()) for b, o in enumerate(choices))

    def cost(choices):
        return sum(c * o for c, o in zip(costs, choices, strict=True))

    feasible = (a for a in itertools.product((0, 1), repeat=10) if cost(a) <= budget)
    best = max(map(log_likelihood, feasible))
    found = most_likely_within(probabilities, space, budget)
    assert cost(found) <= budget
    assert log_likelihood(found) == pytest.approx(best, abs=1e-6)


def test_a_budget_that_does_not_bind_gives_the_most_likely():
    probabilities = random_probabilities(12, 3)
    assert most_likely_within(probabilities, BinarySpace((2.0,) * 12), 24.0) == most_likely(probabilities)


def test_equally_likely_under_a_budget_derives_to_the_cheaper():
    half = torch.full((4, 2), 0.5, dtype=torch.float64)
    assert most_likely_within(half, BinarySpace((5.0,) * 4), 100.0) == (0, 0, 0, 0)


def test_a_budget_below_the_cheapest_is_refused():
    with pytest.raises(InputError, match="no architecture fits the budget"):
        most_likely_within(random_probabilities(2, 0), BinarySpace((1.0, 1.0)), -1.0)


def test_samples_come_from_the_tasks_own_distribution():
    distribution = ArchitectureDistribution(2, (2, 2))
    distribution.logits[0, :, 1], distribution.logits[0, :, 0] = 30.0, -30.0
    rng = torch.Generator().manual_seed(0)
    assert sample(distribution, 0, 5, rng) == [(1, 1)] * 5
    assert len(set(sample(distribution, 1, 50, rng))) == 4
