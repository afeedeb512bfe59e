"""Algorithms 1 to 3: their gradient against autograd and finite differences, and on a known landscape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.search.algorithms import Draw, MultitaskReinforce
from fbnetv5.search.derive import most_likely
from fbnetv5.search.differentiable import Differentiable, SharedForward, SingleTask, TaskByTask
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.space import relative_costs, relaxed_costs
from tests.search.landscape import BinarySpace, Landscape, num_at_optimum, search

SPACE = BinarySpace((1.0, 2.0, 3.0, 4.0))
GUMBEL = {"relaxation": "gumbel_softmax", "temperature": 0.7}
COUNTS = torch.tensor([[1, 2, 3], [2, 0, 1]])
VARIANTS = pytest.mark.parametrize(
    ("method", "settings"), [(TaskByTask, {}), (TaskByTask, GUMBEL), (SharedForward, {})]
)


def build(method: type[Differentiable], logits: Tensor | None = None, **settings) -> Differentiable:
    algorithm = method(SPACE, **{"num_tasks": 2, "num_samples": 3, "seed": 0, "cost_target": 0.2, **settings})
    rng = torch.Generator().manual_seed(5)
    shape = algorithm.distribution.logits.shape
    algorithm.distribution.logits = (
        torch.randn(shape, generator=rng).double().clamp(-1.9, 1.9) if logits is None else logits
    )
    return algorithm


def losses_of(gates: Tensor) -> Tensor:
    """Losses [T, N] of gates [T, N, B, O] in which slots interact; task 1 has no label in sample 1."""
    rng = torch.Generator().manual_seed(9)
    pairs, single = torch.randn(2, 4, 4, generator=rng).double(), torch.randn(2, 4, 2, generator=rng).double()
    select = gates[..., 1]
    losses = torch.einsum("tnb,tbc,tnc->tn", select, pairs, select) + torch.einsum("tnbo,tbo->tn", gates, single)
    return losses.masked_fill(COUNTS == 0, torch.nan)


def step_of(algorithm: Differentiable) -> Tensor:
    """The gradient that an update descends."""
    draw = algorithm.draw(0)
    before = algorithm.distribution.logits
    algorithm.update(draw, losses_of(draw.gates), COUNTS, lr=1e-3)
    return (before - algorithm.distribution.logits) / 1e-3


def relaxed_objective(method, settings, at: Tensor, around: Tensor) -> Tensor:
    """What an update descends, as a function of the logits ``at``, with the draw of the logits ``around``."""
    fixed = build(method, around, **settings)
    draw = fixed.draw(0)
    if settings is GUMBEL:  # draws are keyed, so other logits meet the same noise
        gates = build(method, at, **settings).draw(0).gates.detach()
    else:
        moved = ArchitectureDistribution(2, SPACE.num_options)
        moved.logits = at
        gates = draw.gates.detach() + (moved.probabilities() - fixed.distribution.probabilities())[:, None]
    values = losses_of(draw.gates.detach())
    scale = torch.stack([1 / row[~row.isnan()].std() for row in values])
    costs = (relaxed_costs(SPACE, gates) - fixed.cost_term.target).clamp(min=0)
    weights = fixed.loss_weights(draw, COUNTS)
    return (weights * (losses_of(gates).nan_to_num() * scale[:, None] + costs)).sum()


@VARIANTS
def test_the_step_is_the_derivative_of_the_relaxed_expression(method, settings):
    algorithm = build(method, **settings)
    around = algorithm.distribution.logits.clone()
    expected = torch.zeros_like(around)
    for index in range(around.numel()):
        offset = torch.zeros(around.numel(), dtype=torch.float64)
        offset[index] = 1e-5
        offset = offset.view_as(around)
        above, below = (relaxed_objective(method, settings, around + o, around) for o in (offset, -offset))
        expected.view(-1)[index] = (above - below) / 2e-5
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(step_of(algorithm), expected, rtol=1e-6, atol=1e-8)


def test_straight_through_by_autograd_of_the_textbook_expression():
    algorithm = build(TaskByTask, cost_weight=0.0)
    draw, logits = algorithm.draw(0), algorithm.distribution.logits.clone().requires_grad_()
    p = logits.softmax(dim=-1)[:, None]
    losses = losses_of(draw.gates.detach() + p - p.detach())
    scale = torch.stack([1 / row[~row.isnan()].std() for row in losses.detach()])
    shares = COUNTS.double() / COUNTS.sum(dim=1, keepdim=True)
    (expected,) = torch.autograd.grad((shares * losses.nan_to_num() * scale[:, None]).sum(), logits)
    torch.testing.assert_close(step_of(algorithm), expected, rtol=1e-9, atol=1e-11)


@VARIANTS
def test_draws_are_keyed_by_step_and_sample(method, settings):
    few, many = (build(method, **settings, num_samples=n) for n in (2, 6))
    assert torch.equal(few.draw(5).gates, many.draw(5).gates[:, :2])
    assert not torch.equal(many.draw(5).gates, many.draw(6).gates)


def test_the_shared_forward_runs_what_algorithm_4_runs():
    algorithm = build(SharedForward)
    reference = MultitaskReinforce(SPACE, num_tasks=2, num_samples=3, seed=0)
    reference.distribution.logits = algorithm.distribution.logits
    draw, expected = algorithm.draw(3), reference.draw(3)
    assert draw.shared
    assert torch.equal(draw.choices, expected.choices)
    assert torch.equal(draw.gates[0], draw.gates[1])
    assert torch.equal(algorithm.loss_weights(draw, COUNTS), reference.loss_weights(expected, COUNTS))


@pytest.mark.parametrize("settings", [{}, GUMBEL])
def test_a_task_draws_from_its_own_distribution(settings):
    algorithm = build(TaskByTask, **settings, num_samples=3000)
    drawn = algorithm.draw(0).choices  # [T, N, B]
    assert not algorithm.draw(0).shared
    torch.testing.assert_close(
        drawn.double().mean(dim=1), algorithm.distribution.probabilities()[..., 1], atol=0.035, rtol=0
    )


def test_gates_of_choices_are_one_hot_and_cost_what_the_choices_cost():
    draw = build(TaskByTask).draw(0)
    assert torch.equal(draw.gates.argmax(dim=-1), draw.choices)
    assert sorted(draw.gates.unique().tolist()) == [0.0, 1.0]
    costs = torch.stack([relative_costs(SPACE, row) for row in draw.choices])
    torch.testing.assert_close(relaxed_costs(SPACE, draw.gates), costs)


def test_a_low_temperature_makes_gates_of_choices():
    draw = build(TaskByTask, relaxation="gumbel_softmax", temperature=1e-3, num_samples=50).draw(0)
    soft = draw.gates.detach()
    torch.testing.assert_close(soft, torch.nn.functional.one_hot(draw.choices, 2).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(soft.sum(dim=-1), torch.ones(2, 50, 4).double())


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (SingleTask, {"num_tasks": 1}),
        (SingleTask, {"num_tasks": 1, "num_samples": 1}),
        (SingleTask, {"num_tasks": 1, **GUMBEL}),
        (TaskByTask, {}),
        (SharedForward, {}),
    ],
)
def test_the_optimum_of_a_known_landscape_is_found(method, settings):
    settings = {"num_samples": 8, "num_tasks": 3, **settings}
    assert num_at_optimum(range(3), iterations=150, lr=0.3, method=method, **settings) == 3 * settings["num_tasks"]


@pytest.mark.parametrize("method", [TaskByTask, SharedForward])
def test_the_cost_term_brings_architectures_under_its_target(method):
    landscape = Landscape(torch.ones(3, 16, dtype=torch.int64), torch.full((3, 16), 0.1).double(), noise=0.5)
    free, bounded = (
        search(landscape, 0, method=method, cost_weight=weight, num_samples=8, iterations=150, lr=0.3)
        for weight in (0.0, 100.0)
    )
    for task in range(3):
        cost_free, cost_bounded = (
            float(relative_costs(a.space, torch.tensor([most_likely(a.distribution.probabilities()[task])])))
            for a in (free, bounded)
        )
        assert cost_bounded <= 0.5 < cost_free


@VARIANTS
def test_a_restored_algorithm_goes_on_as_if_never_stopped(method, settings):
    def advance(algorithm, steps):
        for step in steps:
            draw = algorithm.draw(step)
            algorithm.update(draw, losses_of(draw.gates), COUNTS, lr=0.3)

    uninterrupted, first, second = (build(method, **settings, window=4) for _ in range(3))
    advance(uninterrupted, range(12))
    advance(first, range(7))
    second.load_state_dict(first.state_dict())
    advance(second, range(7, 12))
    assert second.distribution.fingerprint() == uninterrupted.distribution.fingerprint()
    assert second.distribution.logits.abs().max() <= 2.0


def test_scaling_a_tasks_loss_does_not_change_its_steps():
    plain, scaled = build(TaskByTask), build(TaskByTask)
    for algorithm, factor in ((plain, 1.0), (scaled, 1000.0)):
        draw = algorithm.draw(0)
        algorithm.update(draw, losses_of(draw.gates) * factor + factor, COUNTS, lr=0.1)
    torch.testing.assert_close(plain.distribution.logits, scaled.distribution.logits)


def test_nothing_moves_in_warm_up_or_without_two_labelled_samples():
    algorithm = build(TaskByTask)
    before, draw = algorithm.distribution.logits.clone(), algorithm.draw(0)
    counts = torch.tensor([[1, 2, 3], [0, 0, 1]])
    algorithm.update(draw, losses_of(draw.gates), counts, lr=0.0)
    assert torch.equal(algorithm.distribution.logits, before)
    fresh = build(TaskByTask)
    fresh.update(draw, losses_of(draw.gates), counts, lr=0.1)
    assert not torch.equal(fresh.distribution.logits[0], before[0])
    assert torch.equal(fresh.distribution.logits[1], before[1])


def test_options_that_make_no_sense_are_refused_in_one_line():
    for method, settings, message in (
        (SingleTask, {}, "SingleTask searches for one task, and there are 2: run one search for each, or set .*TaskBy"),
        (TaskByTask, {"relaxation": "soft"}, "search.algorithm.relaxation=soft is none of straight_through, gumbel"),
        (TaskByTask, {"temperature": 0.0}, "search.algorithm.temperature=0.0 is too small"),
        (SharedForward, {"window": 0}, "window=0 is too small"),
    ):
        with pytest.raises(InputError, match=message) as error:
            build(method, **settings)
        assert "\n" not in str(error.value)


def test_slots_with_different_numbers_of_options():
    class Wide(BinarySpace):
        num_options = (2, 3)
        option_costs = ((0.0, 1.0), (0.0, 1.0, 2.0))

    for settings in ({}, GUMBEL):
        algorithm = TaskByTask(Wide((1.0, 2.0)), num_tasks=1, num_samples=4, seed=0, cost_weight=0.0, **settings)
        for step in range(200):
            draw = algorithm.draw(step)
            algorithm.update(draw, draw.gates[:, :, 1, 2] * -1.0 + draw.gates[:, :, 0, 1], torch.ones(1, 4), lr=0.1)
        assert algorithm.distribution.logits.isfinite().all()
        assert most_likely(algorithm.distribution.probabilities()[0]) == (0, 2)


def test_a_draw_without_gates_is_shared():
    assert Draw(torch.zeros(3, 4, dtype=torch.int64)).shared
