"""What differs in one slot from what is derived, on landscapes whose truth is known."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.last_look import LastLook, last_look
from fbnetv5.search.neighbours import look_around, neighbours
from fbnetv5.search.seen import Seen
from fbnetv5.search.space import CostTerm

SLOTS = 6


@dataclass(frozen=True)
class Space:
    """Slots of two options, the last one of three, of which the later ones cost more."""

    num_options: tuple[int, ...] = (2,) * (SLOTS - 1) + (3,)

    @property
    def option_costs(self) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(option) for option in range(count)) for count in self.num_options)


ALL = torch.tensor(list(itertools.product(*(range(count) for count in Space().num_options))))
PLACES = {tuple(row): place for place, row in enumerate(ALL.tolist())}


class Landscape:
    """Any scores of two tasks at all, those of the second round with ``noise`` beside the first's."""

    def __init__(self, seed: int, noise: float = 0.0, inert: int = 0) -> None:
        rng = torch.Generator().manual_seed(seed)
        sums = torch.randn(2, SLOTS, 3, generator=rng, dtype=torch.float64)[:, torch.arange(SLOTS), ALL].sum(dim=-1)
        first = sums + 0.7 * torch.randn(2, len(ALL), generator=rng, dtype=torch.float64)
        second = first + noise * torch.randn(2, len(ALL), generator=rng, dtype=torch.float64)
        seen = [PLACES[tuple(row)] for row in torch.where(torch.arange(SLOTS) < inert, 0, ALL).tolist()]
        self.scores = torch.stack([first, second], dim=-1)[:, seen]  # [2, A, 2]; ``inert`` first slots change nothing
        self.asked: list[tuple[int, int, tuple[int, ...]]] = []

    def __call__(self, choices: Tensor, which: int, wants: Tensor | None = None) -> Tensor:
        rows = [tuple(row) for row in choices.tolist()]
        scores = self.scores[:, [PLACES[row] for row in rows], which]
        if wants is None:
            return scores
        self.asked += [(which, task, rows[place]) for task, place in wants.nonzero().tolist()]
        return scores.masked_fill(~wants, math.nan)


def test_each_task_is_asked_for_what_it_wants_alone():
    landscape = Landscape(0)
    seen = Seen(landscape, 2)
    one, other, third = (tuple(row) for row in ALL[:3].tolist())
    seen.ask([[one, other], [other]])
    seen.ask([[one], [other, third, third]])
    assert sorted(landscape.asked) == sorted(
        (which, task, row) for which in (0, 1) for task, row in ((0, one), (0, other), (1, other), (1, third))
    )
    for task, own in ((0, {one, other}), (1, {other, third})):
        assert seen.of(task).keys() == own
        assert all(torch.equal(found, landscape.scores[task, PLACES[row]]) for row, found in seen.of(task).items())


def looked(landscape: Landscape, budget: float | None = None, cost_term: CostTerm | None = None) -> LastLook:
    own = ArchitectureDistribution(2, Space().num_options)
    return last_look(
        Space(), own, landscape, num_candidates=60, num_finalists=1, seed=0, budget=budget, cost_term=cost_term
    )


def test_neighbours_differ_in_one_slot():
    found = neighbours(Space(), (0, 1, 0, 1, 0, 1))
    assert len(set(found)) == len(found) == SLOTS + 1
    assert all(sum(a != b for a, b in zip(one, (0, 1, 0, 1, 0, 1), strict=True)) == 1 for one in found)


@pytest.mark.parametrize("budget", [None, 3.0])
@pytest.mark.parametrize("cost_term", [None, CostTerm(1.5, 0.3)])
def test_without_noise_no_neighbour_is_better_and_margins_are_those_of_the_enumeration(budget, cost_term):
    moved = 0
    for seed in range(10):
        landscape = Landscape(seed)
        before = looked(landscape, budget, cost_term)
        landscape.asked.clear()
        look = look_around(Space(), before, Seen(landscape, 2), budget=budget, cost_term=cost_term, num_moves=20)
        assert len(set(landscape.asked)) == len(landscape.asked)  # each once on each round's images
        for task, finding in enumerate(look.findings):
            moved += finding.choices != before.findings[task].choices
            totals = landscape.scores[task, :, 0] / finding.worth.deviation()
            totals = totals + (cost_term or CostTerm()).of(Space(), ALL)
            own = finding.choices
            for slot, margin in enumerate(finding.margins.tolist()):
                others = [one for one in neighbours(Space(), own) if one[slot] != own[slot]]
                expected = min(float(totals[PLACES[one]] - totals[PLACES[own]]) for one in others)
                assert margin == pytest.approx(expected)
            inside = ALL.sum(dim=1) <= (math.inf if budget is None else budget)
            assert inside[PLACES[own]]
            allowed = [one for one in neighbours(Space(), own) if inside[PLACES[one]]]
            assert all(totals[PLACES[one]] >= totals[PLACES[own]] for one in allowed)
            assert not finding.errors.any()
            if budget is None:
                assert finding.shortfall == pytest.approx(0, abs=1e-9)
    assert moved > 3


def test_the_error_is_that_of_the_mean_of_two_rounds():
    missed, stated = [], []
    for seed in range(60):
        landscape = Landscape(seed, noise=0.5)
        look = look_around(Space(), looked(landscape), Seen(landscape, 2), num_moves=0)
        for task, finding in enumerate(look.findings):
            scores = landscape.scores[task] / finding.worth.deviation()
            own = scores[PLACES[finding.choices]]
            lost = [scores[PLACES[one]] - own for one in neighbours(Space(), finding.choices)]
            missed += [float(one.mean() - one[0]) for one in lost]  # beside the first round, which is the truth here
            stated.append(float(finding.errors[0]))
    root = torch.tensor(missed).square().mean().sqrt()
    assert torch.tensor(stated).square().mean().sqrt() == pytest.approx(float(root), rel=0.02)  # outliers are capped


@pytest.mark.parametrize("inert", [3, SLOTS])
def test_slots_that_change_nothing_are_free_and_say_nothing_of_the_others_error(inert):
    for seed in range(10):
        landscape = Landscape(seed, noise=0.5, inert=inert)
        start = looked(Landscape(seed, noise=0.5))
        for finding in look_around(Space(), start, Seen(landscape, 2), num_moves=0).findings:
            assert not finding.margins[:inert].any()
            assert not finding.errors[:inert].any()
            assert finding.errors[inert:].gt(0).all()
            others = finding.reach[:, inert:]
            alone = replace(finding, reach=others[:, others[0].isfinite()])
            assert finding.shortfall == pytest.approx(alone.shortfall)


def test_a_selected_block_that_changes_nothing_is_dropped_for_its_cost_whatever_the_noise():
    dropped = 0
    for seed in range(10):
        start = looked(Landscape(seed, noise=2.0))
        seen = Seen(Landscape(seed, noise=2.0, inert=1), 2)
        for before, finding in zip(
            start.findings, look_around(Space(), start, seen, cost_term=CostTerm(1.5, 0.02)).findings, strict=True
        ):
            dropped += before.choices[0] == 1
            assert finding.choices[0] == 0
    assert dropped > 3


def test_a_neighbour_that_fails_leaves_the_others_decided():
    landscape = Landscape(0, noise=0.01)
    look = looked(landscape)
    for finding, scores in zip(look.findings, landscape.scores, strict=True):
        scores[PLACES[neighbours(Space(), finding.choices)[0]]] = torch.tensor([40.0, 60.0], dtype=torch.float64)
    found = look_around(Space(), look, Seen(landscape, 2), num_moves=0)
    assert all(finding.errors[0] < 0.05 for finding in found.findings)


def test_what_the_two_rounds_do_not_agree_on_moves_nothing():
    landscape = Landscape(0)
    look = looked(landscape)
    own = [finding.choices for finding in look.findings]
    near = neighbours(Space(), own[0])
    landscape.scores[0, PLACES[own[0]]] = 0.0
    for one in near:
        landscape.scores[0, PLACES[one]] = torch.tensor([1.0, -1.2], dtype=torch.float64)
    assert look_around(Space(), look, Seen(landscape, 2)).findings[0].choices == own[0]
    landscape.scores[0, PLACES[near[2]]] = torch.tensor([-3.0, -3.2], dtype=torch.float64)
    assert look_around(Space(), look, Seen(landscape, 2), num_moves=1).findings[0].choices == near[2]


def test_a_space_without_choices_has_no_neighbours():
    look = looked(Landscape(0))
    alone = replace(look, findings=(replace(look.findings[0], choices=(0, 0)),))
    found = look_around(Space((1, 1)), alone, Seen(lambda choices, *_: torch.zeros(1, len(choices)).double(), 1))
    assert found.findings == alone.findings
