"""The regression on choices against refits, known landscapes and enumerations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.search.last_look import best_architectures
from fbnetv5.search.regression import _ridge, fit_worth
from fbnetv5.search.space import CostTerm, relative_costs
from tests.search.landscape import BinarySpace

RNG = torch.Generator


def landscape(num_options: tuple[int, ...], seed: int, pairs: float = 0.0) -> tuple[Tensor, Tensor]:
    """All architectures of a space, int64 [M, B], and their scores: a sum over slots and over pairs of slots."""
    rng = RNG().manual_seed(seed)
    choices = torch.tensor(list(itertools.product(*map(range, num_options))))
    most, slots = max(num_options), len(num_options)
    single = torch.randn(slots, most, generator=rng, dtype=torch.float64)
    paired = pairs * torch.randn(slots, most, slots, most, generator=rng, dtype=torch.float64)
    scores = torch.stack([single[range(slots), row].sum() for row in choices.tolist()])
    for one, two in itertools.combinations(range(slots), 2):
        scores += paired[one, choices[:, one], two, choices[:, two]]
    return choices, scores


@pytest.mark.parametrize(
    ("num_options", "pairs"), [((2,) * 8, 0.0), ((2,) * 6, 1.0), ((3, 2, 4), 0.0), ((3, 2, 3), 1.0)]
)
def test_a_landscape_of_slots_and_pairs_is_found_exactly(num_options: tuple[int, ...], pairs: float) -> None:
    choices, scores = landscape(num_options, 0, pairs)
    worth = fit_worth(choices, scores, num_options, penalties=((1e-9,), (1e-9 if pairs else math.inf,)))
    torch.testing.assert_close(worth.predict(choices), scores, atol=1e-6, rtol=0)
    assert worth.left_out_error < 1e-4
    torch.testing.assert_close(worth.options.sum(dim=1), torch.zeros(len(num_options)).double())


def test_left_out_residuals_are_those_of_refits() -> None:
    rng = np.random.default_rng(0)
    design, target = rng.standard_normal((12, 5)), rng.standard_normal(12)
    penalty = np.array([1.0, 2.0, 3.0, np.inf, 0.5])
    squares = []
    for row in range(12):
        kept = np.arange(12) != row
        x, y = design[kept], target[kept]
        coefficients = np.zeros(5)
        used = np.isfinite(penalty)
        centred = x[:, used] - x[:, used].mean(axis=0)
        gram = centred.T @ centred + np.diag(penalty[used])
        coefficients[used] = np.linalg.solve(gram, centred.T @ (y - y.mean()))
        squares.append((target[row] - y.mean() - (design[row] - x.mean(axis=0)) @ coefficients) ** 2)
    centred, middle = design - design.mean(axis=0), target - target.mean()
    assert _ridge(centred, middle, penalty).press == pytest.approx(np.mean(squares), rel=1e-9)


def test_errors_are_those_of_the_posterior() -> None:
    rng = np.random.default_rng(1)
    design, target = rng.standard_normal((9, 4)), rng.standard_normal(9)
    design -= design.mean(axis=0)
    penalty = np.array([1.0, 4.0, 2.0, 0.5])
    fit = _ridge(design, target - target.mean(), penalty)
    inverse = np.linalg.inv(design.T @ design + np.diag(penalty))
    residuals = target - target.mean() - design @ fit.coefficients
    noise = residuals @ residuals / (9 - 1 - np.trace(design @ inverse @ design.T))
    expected = noise * inverse
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("num_scores", "additive", "noise"), [(192, 0.7, 0.3), (256, 0.4, 0.3), (192, 1.0, 0.3)])
def test_what_is_missed_of_a_difference_has_the_size_of_its_error(num_scores, additive, noise) -> None:
    """Of the 16 neighbours of the best architecture by the fit, over landscapes with pairs and without."""
    slots, missed = 16, []
    weigh = torch.ones(slots, slots, dtype=torch.float64).triu(1)
    for seed in range(6):
        rng = RNG().manual_seed(seed)
        single = torch.randn(slots, generator=rng, dtype=torch.float64) * math.sqrt(additive / slots)
        pairs = torch.randn(slots, slots, generator=rng, dtype=torch.float64) * weigh
        pairs *= math.sqrt((1 - additive) / weigh.sum())

        def truth(choices: torch.Tensor, single: torch.Tensor = single, pairs: torch.Tensor = pairs) -> torch.Tensor:
            signs = 2.0 * choices - 1
            return signs.double() @ single + ((signs.double() @ pairs) * signs).sum(dim=1)

        choices = torch.randint(2, (num_scores, slots), generator=rng)
        scores = truth(choices) + noise * torch.randn(num_scores, generator=rng, dtype=torch.float64)
        worth = fit_worth(choices, scores, (2,) * slots)
        others = torch.randint(2, (2000, slots), generator=rng)
        best = others[worth.predict(others).argmin()].repeat(slots, 1)
        neighbours = best ^ torch.eye(slots, dtype=torch.int64)
        wrong = (worth.predict(neighbours) - worth.predict(best)) - (truth(neighbours) - truth(best))
        missed.append(wrong / worth.errors(best, neighbours))
    size = torch.cat(missed).square().mean().sqrt()
    assert 0.8 < size < 1.25


def test_noise_does_not_choose_the_architecture() -> None:
    """64 noisy scores of 256 architectures: the regression's choice is far better than the best score seen."""
    regrets = []
    for seed in range(20):
        choices, truth = landscape((2,) * 8, seed)
        rng = RNG().manual_seed(seed)
        seen = torch.randperm(256, generator=rng)[:64]
        noisy = truth[seen] + truth.std() * torch.randn(64, generator=rng, dtype=torch.float64)
        worth = fit_worth(choices[seen], noisy, (2,) * 8)
        found = torch.tensor(best_architectures(BinarySpace((1.0,) * 8), worth)[0])
        of_regression = truth[(choices == found).all(dim=1)].item()
        regrets.append((of_regression - truth.min().item(), (truth[seen[noisy.argmin()]] - truth.min()).item()))
    of_regression, of_best_seen = np.mean(regrets, axis=0)
    assert of_regression < of_best_seen / 3


def test_pairs_are_used_where_they_help_and_left_out_where_they_do_not() -> None:
    rng = RNG().manual_seed(0)
    for pairs in (0.0, 1.0):
        choices, truth = landscape((2,) * 7, 3, pairs)
        noisy = truth + 0.3 * torch.randn(len(truth), generator=rng, dtype=torch.float64)
        worth = fit_worth(choices, noisy, (2,) * 7)
        assert (worth.pairs.abs().max() > 0.3) == bool(pairs)


def test_a_slot_without_worth_is_free() -> None:
    choices, _ = landscape((2,) * 6, 0)
    noise = 0.3 * torch.randn(len(choices), generator=RNG().manual_seed(0), dtype=torch.float64)
    worth = fit_worth(choices, 2.0 * choices[:, 1] - 1.0 * choices[:, 4] + noise, (2,) * 6)
    none, each = torch.zeros(6, 6, dtype=torch.int64), torch.eye(6, dtype=torch.int64)
    lost = worth.predict(each) - worth.predict(none)
    assert (lost.abs() > 2 * worth.errors(none, each)).tolist() == [False, True, False, False, True, False]
    assert worth.options[1, 1] - worth.options[1, 0] == pytest.approx(2.0, abs=0.2)


def test_the_deviation_is_that_over_all_architectures() -> None:
    for num_options in ((2,) * 6, (3, 2, 4)):
        choices, truth = landscape(num_options, 0, 1.0)
        worth = fit_worth(choices, truth, num_options)
        assert worth.deviation() == pytest.approx(worth.predict(choices).std(correction=0).item())


@pytest.mark.parametrize("pairs", [0.0, 1.0])
@pytest.mark.parametrize("budget", [None, 4.0, 9.0])
@pytest.mark.parametrize("cost_term", [None, CostTerm(2.0, 0.4)])
def test_the_best_within_a_budget_are_those_of_the_enumeration(
    pairs: float, budget: float | None, cost_term: CostTerm | None
) -> None:
    for seed in range(3):
        choices, truth = landscape((2,) * 8, seed, pairs)
        worth = fit_worth(choices, truth, (2,) * 8, penalties=((1e-6,), (1e-6 if pairs else math.inf,)))
        costs = torch.rand(8, generator=RNG().manual_seed(seed), dtype=torch.float64) * 4
        space = BinarySpace(tuple(costs.tolist()))
        found = torch.tensor(best_architectures(space, worth, 4, budget, cost_term))
        values = worth.predict(choices) / worth.deviation()
        if cost_term is not None:
            values += cost_term.weight * (relative_costs(space, choices) - cost_term.target).clamp(min=0)
        values[(choices * costs).sum(dim=1) > (math.inf if budget is None else budget)] = math.inf
        rows = [int((choices == one).all(dim=1).nonzero()) for one in found]
        torch.testing.assert_close(values[rows], values.sort().values[: len(rows)])


def test_no_more_architectures_are_found_than_there_are() -> None:
    choices, truth = landscape((2,) * 3, 0)
    worth = fit_worth(choices, truth, (2,) * 3)
    found = best_architectures(BinarySpace((1.0,) * 3), worth, 20, budget=1.0)
    assert sorted(found) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]


def test_what_cannot_be_is_refused() -> None:
    worth = fit_worth(torch.tensor([[0, 0], [1, 0], [0, 1]]), torch.zeros(3).double(), (2, 2))
    with pytest.raises(InputError, match="budget"):
        best_architectures(BinarySpace((1.0, 1.0)), worth, budget=-1.0)
    with pytest.raises(ValueError, match="at least 3"):
        fit_worth(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2).double(), (2, 2))
