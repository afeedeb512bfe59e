"""The last look on landscapes whose truth is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.family import best_by_cost, budgets_of, shortlist
from fbnetv5.search.last_look import (
    Finding,
    _finding,
    best_architectures,
    clip_worst,
    draw_candidates,
    last_look,
    within_budget,
)
from fbnetv5.search.regression import fit_worth
from fbnetv5.search.space import CostTerm, cost_of, relative_costs
from tests.search.landscape import BinarySpace

ALL = torch.tensor(list(itertools.product(range(2), repeat=8)))


def distribution(seed: int = 0, tasks: int = 2, slots: int = 8) -> ArchitectureDistribution:
    one = ArchitectureDistribution(tasks, (2,) * slots)
    one.logits = torch.randn(one.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return one


def truth(choices: Tensor, seed: int) -> Tensor:
    """The scores of two tasks, [2, M]: sums over slots and pairs of slots."""
    rng = torch.Generator().manual_seed(seed)
    single = torch.randn(2, 8, generator=rng, dtype=torch.float64)
    paired = 0.3 * torch.randn(2, 8, 8, generator=rng, dtype=torch.float64)
    given = choices.double()
    return torch.einsum("mb,tb->tm", given, single) + torch.einsum("mb,tbc,mc->tm", given, paired, given)


def test_half_of_the_candidates_come_from_the_tasks_and_half_from_halfway_to_uniform():
    own = distribution()
    drawn = draw_candidates(own, 8000, seed=0)
    assert torch.equal(drawn[:100], draw_candidates(own, 100, seed=0))
    for offset, temperature in ((0, 1.0), (1, 2.0)):
        for task in range(2):
            expected = (own.logits[task] / temperature).softmax(dim=-1)[:, 1]
            rate = drawn[offset + 2 * task :: 4].double().mean(dim=0)
            torch.testing.assert_close(rate, expected, atol=0.05, rtol=0)


def test_distinct_candidates_are_those_that_are_drawn_first():
    own = distribution()
    own.logits *= 3  # so that copies are common
    drawn, distinct = draw_candidates(own, 60, seed=0), draw_candidates(own, 60, seed=0, distinct=True)
    firsts = list(dict.fromkeys(map(tuple, drawn.tolist())))
    assert len(firsts) < 60
    assert list(map(tuple, distinct.tolist()))[: len(firsts)] == firsts
    assert len(set(map(tuple, distinct.tolist()))) == len(distinct) == 60
    few = draw_candidates(own, 1000, seed=0, distinct=True)
    assert len(set(map(tuple, few.tolist()))) == len(few) <= 256


def test_a_space_of_one_architecture_has_copies_of_it_alone():
    own = ArchitectureDistribution(1, (1, 1))
    assert draw_candidates(own, 5, seed=0, distinct=True).tolist() == [[0, 0]] * 5


def test_a_search_that_is_sure_derives_the_best_from_its_last_look():
    for seed in range(4):
        scores = truth(ALL, seed)[:1]
        best = ALL[scores[0].argmin()]
        own = ArchitectureDistribution(1, (2,) * 8)
        own.logits[0, torch.arange(8), best] = 4.0  # 0.98 of the draws have each option of the best
        look = last_look(
            BinarySpace((1.0,) * 8),
            own,
            lambda choices, _, seed=seed: truth(choices, seed)[:1],
            num_candidates=192,
            num_finalists=10,
            seed=0,
        )
        found = float(truth(torch.tensor([look.findings[0].choices]), seed)[0, 0])
        assert found <= float(scores[0].sort().values[5])  # of 256


def test_one_that_fails_on_the_second_images_hides_no_agreement():
    def score(choices: Tensor, which: int) -> Tensor:
        scores = truth(choices, 0)
        return scores + which * 1000.0 * F.one_hot(torch.tensor(len(choices) - 1), len(choices))  # the last one

    own = ArchitectureDistribution(2, (2,) * 8)
    look = last_look(BinarySpace((1.0,) * 8), own, score, num_candidates=200, num_finalists=4, seed=0)
    assert all(finding.agreement > 0.8 for finding in look.findings)


@pytest.mark.parametrize("budget", [None, 3.0])
@pytest.mark.parametrize("cost_term", [None, CostTerm(1.5, 0.3)])
def test_without_noise_one_of_the_best_architectures_is_found(budget: float | None, cost_term: CostTerm | None):
    space = BinarySpace((1.0, 2.0, 0.5, 0.5, 1.0, 1.0, 2.0, 0.2))
    for seed in range(5):
        look = last_look(
            space,
            distribution(seed),
            lambda choices, which, seed=seed: truth(choices, seed) + which,  # other images: other levels
            num_candidates=200,
            num_finalists=5,
            seed=seed,
            budget=budget,
            cost_term=cost_term,
        )
        assert look.scores.shape == (2, 200)
        for scores, finding in zip(truth(ALL, seed), look.findings, strict=True):
            values = scores / scores.std(correction=0)
            if cost_term is not None:
                values = values + cost_term.of(space, ALL)
            allowed = relative_costs(space, ALL) * sum(space.costs) <= (math.inf if budget is None else budget)
            own = (torch.tensor(finding.choices) == ALL).all(dim=1)
            assert allowed[own].item()
            assert values[own].item() <= values[allowed].min().item() + 0.05  # the penalties shrink pairs


def test_the_second_score_decides_between_finalists_that_the_first_cannot_tell_apart():
    def score(choices: Tensor, which: int) -> Tensor:
        first = choices[:, :1].double().T
        return first + which * choices[:, 1:2].double().T  # slot 1 matters on the second images alone

    space = BinarySpace((0.0,) * 8)
    own = ArchitectureDistribution(1, (2,) * 8)
    look = last_look(space, own, score, num_candidates=100, num_finalists=256, seed=0)
    assert look.findings[0].choices[:2] == (0, 0)


def test_scores_that_other_images_do_not_repeat_are_found_out():
    def score(choices: Tensor, which: int) -> Tensor:
        return truth(choices, which)  # each round has effects of its own

    agreed = []
    for seed in range(5):
        own = ArchitectureDistribution(2, (2,) * 8)
        look = last_look(BinarySpace((1.0,) * 8), own, score, num_candidates=200, num_finalists=4, seed=seed)
        agreed += [abs(finding.agreement) < 0.8 for finding in look.findings]
        same = last_look(
            BinarySpace((1.0,) * 8),
            own,
            lambda choices, _: truth(choices, 0),
            num_candidates=200,
            num_finalists=4,
            seed=seed,
        )
        assert all(finding.agreement > 0.95 for finding in same.findings)
    assert all(agreed)


def test_the_shortfall_is_what_flips_would_gain_by_expectation():
    margins, errors = torch.tensor([1.0, 0.2, 0.0, -0.1]).double(), torch.tensor([0.1, 0.3, 0.2, 0.4]).double()
    worth = fit_worth(ALL, truth(ALL, 0)[0], (2,) * 8)
    finding = Finding(worth, ((0,) * 8,), (0.0,), (0,) * 8, margins, errors, torch.stack([margins, errors]), 1.0, 1.0)
    noise = torch.randn(400_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = -(margins + errors * noise).clamp(max=0).mean(dim=0).sum()
    assert finding.shortfall == pytest.approx(expected.item(), rel=0.01)


@pytest.mark.parametrize("budget", [3.0, 5.0, 7.0])
def test_under_a_budget_what_it_forbids_is_missed_by_nothing(budget):
    """Blocks that all help: the best that fit leave nothing to gain, though each of the others alone would."""
    worths = torch.linspace(0.2, 1.4, 12, dtype=torch.float64)
    space, choices = BinarySpace((1.0,) * 12), torch.randint(2, (400, 12), generator=torch.Generator().manual_seed(0))
    worth = fit_worth(choices, -(choices * worths).sum(dim=1), (2,) * 12)
    count = int(budget)
    best, worse = (0,) * (12 - count) + (1,) * count, (1,) * count + (0,) * (12 - count)
    found = {
        own: _finding(space, worth, [own], [0.0], 1.0, CostTerm(), limit)
        for own, limit in ((best, budget), (worse, budget))
    }
    assert found[best].shortfall == pytest.approx(0, abs=0.01)
    assert (found[best].margins < 0).sum() == 12 - count  # what each block would gain stays to be seen
    assert found[best].gain > 1 > found[worse].gain
    assert found[worse].shortfall > 1


def test_an_exchange_that_costs_too_much_is_made_with_the_least_bad_that_pays_for_it():
    space, own = BinarySpace((1.0, 2.0, 3.0)), (1, 1, 0)
    others = [(0, 1, 0), (1, 0, 0), (1, 1, 1)]
    seen = torch.tensor([[0.5, 0.2, -1.0], [0.3, 0.4, 0.0]], dtype=torch.float64)
    assert within_budget(space, own, others, seen, None) is seen
    for budget, reach in ((6.0, -1.0), (5.0, -0.8), (4.0, -0.8), (3.0, math.inf)):
        found = within_budget(space, own, others, seen, budget)
        assert found[0].tolist() == pytest.approx([0.5, 0.2, reach])
    assert within_budget(space, own, others, seen, 4.0)[1, 2] == pytest.approx(0.4)


def test_margins_are_those_of_the_enumeration():
    space, cost_term = BinarySpace((1.0,) * 8), CostTerm(2.0, 0.25)
    scores = truth(ALL, 3)
    look = last_look(
        space,
        distribution(1),
        lambda choices, _: truth(choices, 3),
        num_candidates=250,
        num_finalists=1,
        seed=0,
        cost_term=cost_term,
    )
    for of_task, finding in zip(scores, look.findings, strict=True):
        values = of_task / of_task.std(correction=0) + cost_term.of(space, ALL)
        place = {tuple(row): value for row, value in zip(ALL.tolist(), values.tolist(), strict=True)}
        own = finding.choices
        flipped = [(*own[:slot], 1 - own[slot], *own[slot + 1 :]) for slot in range(8)]
        expected = torch.tensor([place[one] - place[own] for one in flipped]).double()
        torch.testing.assert_close(finding.margins, expected, atol=0.2, rtol=0)  # the worst scores are clipped
        assert finding.gain == pytest.approx(values.mean().item() - place[own], abs=0.1)
        assert finding.choices == best_architectures(space, finding.worth, 1, None, cost_term)[0]


def test_how_bad_the_worst_are_does_not_matter():
    scores = torch.arange(11, dtype=torch.float64)  # median 5, best tenth 1
    torch.testing.assert_close(clip_worst(scores), scores)
    for worst in (14.0, 90.0):
        scores[-1] = worst
        assert clip_worst(scores).tolist() == [*range(10), 13]


def test_scores_that_are_known_are_fitted_too():
    space, asked = BinarySpace((1.0,) * 8), []

    def score(choices: torch.Tensor, again: int) -> torch.Tensor:
        asked.append(len(choices))
        return truth(choices, 3)

    look = last_look(
        space,
        distribution(1),
        score,
        num_candidates=3,
        num_finalists=1,
        seed=0,
        known=(ALL, truth(ALL, 3)),
    )
    assert asked == [3, len(look.findings) + 3]  # the finalists, and candidates once more
    for finding, of_task in zip(look.findings, truth(ALL, 3), strict=True):
        rank = (of_task < of_task[(torch.tensor(finding.choices) == ALL).all(dim=1)]).sum()
        assert rank <= 2  # of 256; three candidates alone would say next to nothing


def test_a_family_is_for_every_budget_the_best_of_all_that_were_scored():
    space = BinarySpace((1.0, 2.0, 0.5, 0.5, 1.0, 1.0, 2.0, 0.25))
    every = [tuple(one) for one in ALL.tolist()]
    costs = torch.tensor([cost_of(space, one) for one in every]).double()
    for seed in range(4):
        worth = fit_worth(ALL, truth(ALL, seed)[0], space.num_options)
        predicted = worth.predict(ALL)
        budgets = budgets_of(space, worth, every[int(predicted.argmin())], 9)
        assert (budgets[0], budgets[-1]) == (0, float(costs[predicted.argmin()]))
        short = shortlist(space, worth, budgets)
        assert len(short) == len(set(short)) <= 8 * 3 + 1
        scores = dict(zip(every, truth(ALL, seed + 10)[0].tolist(), strict=True))  # others than were fitted
        family = best_by_cost(space, {one: scores[one] for one in short}, budgets)
        for budget in budgets:
            inside = (costs <= budget * (1 + 1e-9)).nonzero().flatten()
            (mine,) = best_architectures(space, worth, budget=budget)
            assert mine in short
            assert float(worth.predict(torch.tensor([mine]))[0]) == pytest.approx(float(predicted[inside].min()))
            best = min(scores[one] for one in short if cost_of(space, one) <= budget * (1 + 1e-9))
            assert best in [scores[one] for one in family]
        own = [scores[one] for one in family]
        assert (family[0], own) == ((0,) * 8, sorted(own, reverse=True))
        spent = [cost_of(space, one) for one in family]
        assert spent == sorted(spent)
        front = [
            one
            for one in short
            if not any(
                scores[other] <= scores[one] and cost_of(space, other) <= cost_of(space, one) and other != one
                for other in short
            )
        ]
        assert set(family) <= set(front)
        assert len(family) == min(9, len(front))


def test_the_budgets_of_a_family_reach_what_is_derived():
    space = BinarySpace((1.0,) * 8)
    worth = fit_worth(ALL, truth(ALL, 0)[0], space.num_options)
    assert budgets_of(space, worth, (1,) * 8, 3) == [0, 4, 8]
