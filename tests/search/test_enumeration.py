"""The search's estimates against sums over all 2^B architectures."""

from __future__ import annotations

import itertools

import pytest
import torch

from fbnetv5.search.distribution import LOGIT_LIMIT, ArchitectureDistribution
from fbnetv5.search.estimators import importance_weights, reinforce_gradient, weighted_mean

NUM_TASKS = 3


def random_distribution(num_slots: int, seed: int = 0) -> ArchitectureDistribution:
    distribution = ArchitectureDistribution(NUM_TASKS, (2,) * num_slots)
    logits = torch.randn(distribution.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    distribution.logits = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    return distribution


def all_architectures(num_slots: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0, 1), repeat=num_slots)))


def random_losses(num_architectures: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(NUM_TASKS, num_architectures, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("num_slots", [1, 3, 8])
def test_tasks_and_proxy_sum_to_one(num_slots):
    distribution = random_distribution(num_slots)
    architectures = all_architectures(num_slots)
    torch.testing.assert_close(distribution.log_prob(architectures).exp().sum(1), torch.ones(NUM_TASKS).double())
    torch.testing.assert_close(distribution.log_proxy(architectures).exp().sum(), torch.tensor(1.0).double())


def test_log_prob_is_the_product_of_bernoullis():
    distribution = random_distribution(4)
    select = distribution.probabilities()[..., 1]
    for a in all_architectures(4):
        expected = (select**a * (1 - select) ** (1 - a)).prod(dim=1)
        torch.testing.assert_close(distribution.log_prob(a[None])[:, 0].exp(), expected)


def test_ratio_is_at_most_the_number_of_tasks():
    distribution = random_distribution(8)
    distribution.logits = distribution.logits * 100  # nearly disjoint distributions
    assert distribution.log_ratio(all_architectures(8)).exp().max() <= NUM_TASKS + 1e-9


@pytest.mark.parametrize("num_slots", [2, 5, 8])
def test_weighted_loss_under_the_proxy_is_the_tasks_expectation(num_slots):
    distribution = random_distribution(num_slots)
    architectures = all_architectures(num_slots)
    losses = random_losses(len(architectures))
    proxy = distribution.log_proxy(architectures).exp()
    ratio = distribution.log_ratio(architectures).exp()
    expectation = (distribution.log_prob(architectures).exp() * losses).sum(dim=1)
    torch.testing.assert_close((proxy * ratio * losses).sum(dim=1), expectation)


@pytest.mark.parametrize("num_slots", [2, 5, 8])
def test_reinforce_is_the_derivative_of_the_exact_expectation(num_slots):
    distribution = random_distribution(num_slots)
    architectures = all_architectures(num_slots)
    losses = random_losses(len(architectures))
    exact_weights = distribution.log_prob(architectures).exp()  # q times p_t / q
    distribution.logits.requires_grad_(True)
    expectation = (distribution.log_prob(architectures).exp() * losses).sum()
    (derivative,) = torch.autograd.grad(expectation, distribution.logits)
    distribution.logits.requires_grad_(False)
    estimate = reinforce_gradient(exact_weights, losses, architectures, distribution.probabilities())
    torch.testing.assert_close(estimate, derivative)


def test_a_constant_baseline_changes_nothing():
    distribution = random_distribution(6)
    architectures = all_architectures(6)
    losses = random_losses(len(architectures))
    weights = distribution.log_prob(architectures).exp()
    plain = reinforce_gradient(weights, losses, architectures, distribution.probabilities())
    shifted = reinforce_gradient(weights, losses - 7.0, architectures, distribution.probabilities())
    torch.testing.assert_close(plain, shifted)


def test_sign_for_a_skipped_block():
    """A bad skip makes skipping less likely: eq. 10 as printed would make it more likely."""
    distribution = ArchitectureDistribution(1, (2,))
    skipped = torch.tensor([[0]])
    gradient = reinforce_gradient(torch.ones(1, 1), torch.ones(1, 1), skipped, distribution.probabilities())
    distribution.descend(gradient, lr=0.1)
    assert distribution.probabilities()[0, 0, 0] < 0.5 < distribution.probabilities()[0, 0, 1]


def test_self_normalised_estimate_converges_to_the_expectation():
    distribution = random_distribution(6)
    architectures = all_architectures(6)
    losses = random_losses(len(architectures))
    expectation = (distribution.log_prob(architectures).exp() * losses).sum(dim=1)
    rng = torch.Generator().manual_seed(3)
    errors = []
    for count in (100, 10000):
        drawn = torch.stack([distribution.sample_proxy(rng) for _ in range(count)])
        position = (drawn * 2 ** torch.arange(5, -1, -1)).sum(dim=1)
        weights = importance_weights(distribution.log_ratio(drawn), torch.ones(NUM_TASKS, count))
        errors.append((weighted_mean(weights, losses[:, position]) - expectation).abs().max())
    assert errors[1] < 0.04
    assert errors[1] < errors[0] / 3


def test_a_sample_without_labels_counts_nothing_and_a_task_without_labels_is_zero():
    log_ratio = torch.zeros(2, 3, dtype=torch.float64)
    counts = torch.tensor([[4, 0, 12], [0, 0, 0]])
    weights = importance_weights(log_ratio, counts)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.0, 0.75], [0.0, 0.0, 0.0]]).double())


def test_weights_are_label_counts_times_ratios():
    distribution = random_distribution(5)
    architectures = all_architectures(5)[[3, 17, 30]]
    counts = torch.tensor([[1, 2, 3], [5, 1, 1], [2, 2, 2]])
    raw = counts * distribution.log_ratio(architectures).exp()
    torch.testing.assert_close(
        importance_weights(distribution.log_ratio(architectures), counts), raw / raw.sum(1, keepdim=True)
    )


def test_slots_with_different_numbers_of_options():
    distribution = ArchitectureDistribution(2, (2, 4, 3))
    probabilities = distribution.probabilities()
    torch.testing.assert_close(probabilities[0, 0], torch.tensor([0.5, 0.5, 0, 0]).double())
    torch.testing.assert_close(probabilities[0, 1], torch.full((4,), 0.25).double())
    drawn = torch.stack([distribution.sample_proxy(torch.Generator().manual_seed(i)) for i in range(600)])
    assert drawn.max(dim=0).values.tolist() == [1, 3, 2]
    for slot, count in enumerate((2, 4, 3)):
        shares = drawn[:, slot].bincount(minlength=count) / len(drawn)
        assert (shares - 1 / count).abs().max() < 0.07


def test_draws_follow_the_probabilities():
    distribution = random_distribution(4)
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([distribution.sample_task(1, rng) for _ in range(4000)]).double().mean(dim=0)
    torch.testing.assert_close(drawn, distribution.probabilities()[1, :, 1], atol=0.03, rtol=0)
