"""Algorithm 4 on a known landscape, and its state."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.search.algorithms import Draw, MultitaskReinforce, RandomSampling
from fbnetv5.search.derive import most_likely
from fbnetv5.search.estimators import LossHistory
from fbnetv5.search.space import relative_costs
from tests.on_request import ON_REQUEST
from tests.search.landscape import BinarySpace, Landscape, num_at_optimum, search

SPACE = BinarySpace((1.0, 2.0, 3.0, 4.0))


def algorithm_4(**settings) -> MultitaskReinforce:
    return MultitaskReinforce(SPACE, **{"num_tasks": 2, "num_samples": 4, "seed": 0, **settings})


@pytest.mark.slow
@ON_REQUEST
def test_finds_the_optimum_of_57_of_60_tasks():
    assert num_at_optimum(baseline="weighted") >= 57


def test_finds_more_than_with_the_papers_baseline():
    weighted, history = (num_at_optimum((1, 4, 15), baseline=name) for name in ("weighted", "history"))
    assert weighted >= 9 - 1
    assert history < 9 - 3  # so it is below 57 of 60, whatever other seeds give


@pytest.mark.parametrize("baseline", ["weighted", "history"])
def test_the_cost_term_brings_architectures_under_its_target(baseline):
    landscape = Landscape(torch.ones(3, 16, dtype=torch.int64), torch.full((3, 16), 0.1).double(), noise=0.5)
    free = search(landscape, 0, baseline=baseline, cost_weight=0.0)
    bounded = search(landscape, 0, baseline=baseline, cost_weight=30.0, cost_target=0.5)
    for task in range(3):
        cost_free, cost_bounded = (
            float(relative_costs(a.space, torch.tensor([most_likely(a.distribution.probabilities()[task])])))
            for a in (free, bounded)
        )
        assert cost_bounded <= 0.5 < cost_free


def test_a_draw_depends_on_step_and_sample_alone():
    few, many = algorithm_4(num_samples=2), algorithm_4(num_samples=8)
    assert torch.equal(few.draw(5).choices, many.draw(5).choices[:2])
    assert not torch.equal(many.draw(5).choices, many.draw(6).choices)


def test_a_restored_algorithm_goes_on_as_if_never_stopped():
    rng = torch.Generator().manual_seed(0)
    losses = torch.randn(20, 2, 4, generator=rng, dtype=torch.float64)
    counts = torch.tensor([[1, 0, 2, 1], [3, 3, 0, 0]])

    def advance(algorithm, steps):
        for step in steps:
            algorithm.update(algorithm.draw(step), losses[step], counts, lr=0.3)

    uninterrupted = algorithm_4(window=5)
    advance(uninterrupted, range(20))
    first, second = algorithm_4(window=5), algorithm_4(window=5)
    advance(first, range(9))
    second.load_state_dict(first.state_dict())
    advance(second, range(9, 20))
    assert torch.equal(second.distribution.logits, uninterrupted.distribution.logits)
    assert second.distribution.fingerprint() == uninterrupted.distribution.fingerprint()


def test_scaling_a_tasks_loss_does_not_change_its_steps():
    losses = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain, scaled = algorithm_4(cost_weight=0.0), algorithm_4(cost_weight=0.0)
    for algorithm, factor in ((plain, 1.0), (scaled, 1000.0)):
        algorithm.update(algorithm.draw(0), losses * factor + factor, torch.ones(2, 4), lr=0.1)
    torch.testing.assert_close(plain.distribution.logits, scaled.distribution.logits)


def test_the_logits_move_by_the_formula():
    algorithm = algorithm_4(num_tasks=1, num_samples=2, cost_weight=0.5, cost_target=0.1)
    choices = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]])  # cost 3 and 4 of 10
    algorithm.update(Draw(choices), torch.tensor([[2.0, 4.0]]).double(), torch.tensor([[1, 3]]), lr=1.0)
    # w = 1/4, 3/4; b = 3.5; sigma = sqrt(2); cost terms 0.2 and 0.3, their mean 0.275
    first = 0.25 * ((2 - 3.5) / 2**0.5 + 0.5 * (0.2 - 0.275))
    second = 0.75 * ((4 - 3.5) / 2**0.5 + 0.5 * (0.3 - 0.275))
    expected = -(first * (choices[0] - 0.5) + second * (choices[1] - 0.5))
    torch.testing.assert_close(algorithm.distribution.logits[0, :, 1], expected.double())
    torch.testing.assert_close(algorithm.distribution.logits[0, :, 0], -expected.double())


def test_nothing_moves_in_warm_up_or_below_two_labelled_samples():
    algorithm = algorithm_4()
    losses = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    algorithm.update(algorithm.draw(0), losses, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1]]), lr=0.0)
    assert not algorithm.distribution.logits.any()
    fresh = algorithm_4(baseline="history")
    fresh.update(fresh.draw(0), losses, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1]]), lr=0.1)
    assert fresh.distribution.logits[0].any()
    assert not fresh.distribution.logits[1].any()


def test_logits_stay_within_two():
    algorithm = algorithm_4(cost_weight=0.0)
    for step in range(50):
        draw = algorithm.draw(step)
        algorithm.update(draw, draw.choices.sum(1).double().expand(2, -1), torch.ones(2, 4), lr=10.0)
    assert algorithm.distribution.logits.abs().max() == 2.0


def test_an_unlabelled_loss_is_ignored_even_if_nan():
    algorithm = algorithm_4()
    losses = torch.tensor([[1.0, torch.nan, 2.0, 3.0], [torch.nan] * 4]).double()
    algorithm.update(algorithm.draw(0), losses, torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0]]), lr=0.1)
    assert algorithm.distribution.logits.isfinite().all()
    assert not algorithm.distribution.logits[1].any()


def test_the_weighted_baseline_is_refused_with_one_sample():
    with pytest.raises(InputError, match="needs at least 2, got 1"):
        algorithm_4(num_samples=1)
    algorithm_4(num_samples=1, baseline="history")


def test_with_one_sample_the_papers_baseline_still_feels_the_cost():
    algorithm = algorithm_4(num_tasks=1, num_samples=1, baseline="history", cost_weight=10.0, cost_target=0.0)
    for step in range(300):
        draw = algorithm.draw(step)
        algorithm.update(draw, torch.zeros(1, 1).double(), torch.ones(1, 1), lr=0.05)
    assert most_likely(algorithm.distribution.probabilities()[0]) == (0, 0, 0, 0)


def test_the_history_forgets_after_its_window():
    history = LossHistory(num_tasks=1, window=2)
    for value in (100.0, 1.0, 3.0):
        history.add(torch.tensor([[value]]).double(), torch.tensor([[True]]), torch.tensor([value]).double())
    assert history.mean().tolist() == [2.0]
    torch.testing.assert_close(history.deviation(), torch.tensor([2.0**0.5]).double())
    assert history.mean_cost() == 2.0


def test_random_sampling_is_uniform_and_weighs_by_labels():
    algorithm = RandomSampling(SPACE, num_tasks=2, num_samples=500, seed=0)
    choices = algorithm.draw(0).choices
    assert (choices.double().mean(dim=0) - 0.5).abs().max() < 0.08
    weights = algorithm.loss_weights(Draw(choices[:2]), torch.tensor([[1, 3], [2, 0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75], [1.0, 0.0]]).double())


PAIRS = {"draws": "pairs", "deviation": "within"}
OTHERS = {"baseline": "others", "deviation": "within"}


@pytest.mark.parametrize("settings", [PAIRS, OTHERS])
def test_images_that_a_group_shares_do_not_move_the_logits(settings):
    """What all losses of a group have in common, here up to 100, changes no step."""
    rng = torch.Generator().manual_seed(0)
    plain, shifted = (algorithm_4(num_samples=8, group=4, cost_weight=0.5, **settings) for _ in range(2))
    for step in range(5):
        losses = torch.randn(2, 8, generator=rng, dtype=torch.float64)
        images = 100 * torch.rand(2, 2, generator=rng, dtype=torch.float64).repeat_interleave(4, dim=1)
        for algorithm, values in ((plain, losses), (shifted, losses + images)):
            algorithm.update(algorithm.draw(step), values, torch.ones(2, 8), lr=0.3)
    torch.testing.assert_close(plain.distribution.logits, shifted.distribution.logits)
    assert plain.distribution.logits.abs().max() > 0.1


@pytest.mark.parametrize("settings", [PAIRS, OTHERS])
def test_an_unlabelled_group_says_nothing(settings):
    algorithm = algorithm_4(num_samples=4, group=2, cost_weight=0.0, **settings)
    losses = torch.tensor([[1.0, 3.0, torch.nan, torch.nan], [torch.nan] * 4]).double()
    algorithm.update(algorithm.draw(0), losses, torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]), lr=0.1)
    assert algorithm.distribution.logits.isfinite().all()
    assert algorithm.distribution.logits[0].any()
    assert not algorithm.distribution.logits[1].any()


@pytest.mark.slow
def test_comparing_on_the_same_images_finds_more_where_images_deviate_more_than_architectures():
    """Groups of two pairs, with noise of images of five times the deviation: gains in deviations, 8 seeds."""
    gains = {name: [] for name in ("alone", "pairs")}
    for seed in range(8):
        one = Landscape.random(seed, noise=0.1)
        for name, group, settings in (("alone", 1, {}), ("pairs", 2, PAIRS)):
            space = BinarySpace((1.0,) * 16)
            algorithm = MultitaskReinforce(
                space, num_tasks=3, num_samples=8, group=group, seed=seed, cost_weight=0.0, **settings
            )
            rng = torch.Generator().manual_seed(seed)
            for step in range(150):
                draw = algorithm.draw(step)
                images = 3.0 * torch.randn(3, 8 // group, generator=rng, dtype=torch.float64)
                losses = one.losses(draw.choices, rng) + images.repeat_interleave(group, dim=1)
                algorithm.update(draw, losses, torch.ones(3, 8), lr=0.2)
            found = algorithm.distribution.probabilities()[..., 1] > 0.5
            right = one.coefficients * (found == one.optima)
            gains[name].append(float(right.sum() / one.coefficients.sum()))
    assert sum(gains["pairs"]) > sum(gains["alone"]) + 8 * 0.1


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"draws": "pairs", "group": 3}, r"search\.group=3"),
        ({"draws": "pears"}, r"search\.algorithm\.draws=pears"),
        ({"baseline": "others"}, r"search\.algorithm\.baseline=others"),
        ({"deviation": "within"}, r"search\.algorithm\.deviation=within"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, key):
    with pytest.raises(InputError, match=key):
        algorithm_4(**settings)


def test_a_space_whose_options_are_free_has_cost_zero():
    free = BinarySpace((0.0, 0.0))
    assert relative_costs(free, torch.tensor([[0, 1], [1, 1]])).tolist() == [0.0, 0.0]
