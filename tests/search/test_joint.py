"""Architectures of several tasks under one budget, against all there are."""

from __future__ import annotations

import itertools

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.search.joint import best_together
from fbnetv5.search.regression import Worth, fit_worth
from fbnetv5.search.space import cost_of
from tests.search.landscape import BinarySpace

SPACE = BinarySpace((1.0, 2.0, 0.5, 0.75, 1.25, 1.0))
ALL = torch.tensor(list(itertools.product(range(2), repeat=6)))


def worth(seed: int, paired: float) -> Worth:
    rng = torch.Generator().manual_seed(seed)
    single = torch.randn(6, generator=rng, dtype=torch.float64) - 0.3  # most blocks help
    pairs = paired * torch.randn(6, 6, generator=rng, dtype=torch.float64)
    given = ALL.double()
    scores = given @ single + torch.einsum("mb,bc,mc->m", given, pairs, given)
    return fit_worth(ALL, scores, SPACE.num_options)


@pytest.mark.parametrize("paired", [0.0, 0.5])
@pytest.mark.parametrize("weights", [None, [3.0, 0.5]])
@pytest.mark.parametrize("budget", [0.0, 0.6, 2.0, 4.3, 7.75, 13.0])
def test_no_other_architectures_within_the_budget_are_better(budget: float, weights: list[float] | None, paired: float):
    costs = torch.tensor([cost_of(SPACE, one) for one in ALL.tolist()])
    for seed in range(6):
        worths = [worth(2 * seed + task, paired) for task in range(2)]
        found = best_together(SPACE, worths, budget, weights)
        values = [
            (one.predict(ALL) - one.mean) / one.deviation() * weight
            for one, weight in zip(worths, weights or (1.0, 1.0), strict=True)
        ]
        sums = values[0][:, None] + values[1]
        within = costs[:, None] + costs <= budget + 1e-6
        rows = [ALL.tolist().index(list(one)) for one in found.choices]
        assert (found.cost, found.shortfall) == (float(costs[rows].sum()), 0.0)
        assert found.cost <= budget + 1e-6
        assert float(sums[rows[0], rows[1]]) == pytest.approx(float(sums[within].min()))


def test_a_budget_below_the_cheapest_is_refused():
    with pytest.raises(InputError, match="no topologies fit the joint budget of -1"):
        best_together(SPACE, [worth(0, 0.0)], -1.0)
