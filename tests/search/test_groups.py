"""Estimates from groups and pairs against sums over all architectures, or all pairs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.estimators import reinforce_gradient, variance_within_groups
from fbnetv5.search.groups import (
    disarm_gradient,
    draw_pairs,
    log_pair_probability,
    mean_of_others,
    pair_weights,
)
from tests.search.test_enumeration import NUM_TASKS, all_architectures, random_distribution, random_losses


def all_pairs(num_slots: int) -> Tensor:
    """All pairs of architectures, as the members of neighbouring rows; int64 [2 P, B]."""
    one = all_architectures(num_slots)
    first, second = one.repeat_interleave(len(one), dim=0), one.repeat(len(one), 1)
    return torch.stack([first, second], dim=1).flatten(0, 1)


def derivative(distribution: ArchitectureDistribution, losses: Tensor) -> Tensor:
    """The derivative of each task's exact expectation with respect to its logits."""
    logits = distribution.logits
    logits.requires_grad_(True)
    expectation = (distribution.log_prob(all_architectures(logits.shape[1])).exp() * losses).sum()
    (gradient,) = torch.autograd.grad(expectation, logits)
    logits.requires_grad_(False)
    return gradient


@pytest.mark.parametrize("num_slots", [1, 2, 4, 5])
def test_pairs_have_the_marginals_of_their_task_and_sum_to_one(num_slots: int) -> None:
    distribution = random_distribution(num_slots)
    pairs = all_pairs(num_slots)
    probability = log_pair_probability(distribution.probabilities(), pairs).exp()  # [T, P]
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(NUM_TASKS).double())
    for member in (0, 1):
        of_member = torch.einsum("tp,pb->tb", probability, pairs[member::2].double())
        torch.testing.assert_close(of_member, distribution.probabilities()[..., 1])


@pytest.mark.parametrize("num_slots", [1, 2, 3, 5])
def test_disarm_is_the_derivative_of_the_exact_expectation(num_slots: int) -> None:
    """Drawn from the mean of the tasks' pairs and weighted by the ratio; up to 1,024 pairs of 32 architectures."""
    distribution = random_distribution(num_slots)
    losses, pairs = random_losses(2**num_slots), all_pairs(num_slots)
    position = (pairs * 2 ** torch.arange(num_slots - 1, -1, -1)).sum(dim=1)
    probability = log_pair_probability(distribution.probabilities(), pairs).exp()
    proxy = probability.mean(dim=0)
    exact = proxy * (probability / proxy).nan_to_num(0.0)
    estimate = disarm_gradient(exact, losses[:, position], pairs, distribution.probabilities())
    torch.testing.assert_close(estimate, derivative(distribution, losses))


def test_disarm_at_eight_slots_by_conditioning_on_the_pair_of_each_slot() -> None:
    """B = 8: 65,536 pairs, of which those of probability zero under every task are left out."""
    distribution = random_distribution(8)
    losses = random_losses(2**8)
    likelier = distribution.probabilities()[..., 1] > 0.5  # [T, B]
    options = [[(0, 1), (1, 0), *{(int(side), int(side)) for side in likelier[:, slot]}] for slot in range(8)]
    rows = torch.tensor(list(itertools.product(*options)))  # [P, B, 2]
    pairs = rows.movedim(-1, 1).flatten(0, 1)
    position = (pairs * 2 ** torch.arange(7, -1, -1)).sum(dim=1)
    probability = log_pair_probability(distribution.probabilities(), pairs).exp()
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(NUM_TASKS).double())
    estimate = disarm_gradient(probability, losses[:, position], pairs, distribution.probabilities())
    torch.testing.assert_close(estimate, derivative(distribution, losses))


@pytest.mark.parametrize("group", [2, 3])
@pytest.mark.parametrize("num_slots", [1, 2])
def test_comparing_with_the_others_of_a_group_is_unbiased(group: int, num_slots: int) -> None:
    """Over all groups of independent draws from q, the estimate with exact ratios is the derivative."""
    distribution = random_distribution(num_slots)
    architectures, losses = all_architectures(num_slots), random_losses(2**num_slots)
    proxy, ratio = distribution.log_proxy(architectures).exp(), distribution.log_ratio(architectures).exp()
    total = torch.zeros_like(distribution.logits)
    for members in itertools.product(range(2**num_slots), repeat=group):
        chosen = list(members)
        advantages = losses[:, chosen] - mean_of_others(losses[:, chosen], group)
        one = reinforce_gradient(
            ratio[:, chosen] / group, advantages, architectures[chosen], distribution.probabilities()
        )
        total += proxy[chosen].prod() * one
    torch.testing.assert_close(total, derivative(distribution, losses))


def test_a_baseline_that_holds_the_mirror_is_biased() -> None:
    """Three slots, p = (.5, .8, .2): leave-one-out on pairs gives another derivative, DisARM the true one."""
    distribution = ArchitectureDistribution(1, (2, 2, 2))
    selected = torch.tensor([0.5, 0.8, 0.2]).double()
    distribution.logits[0, :, 1] = (selected / (1 - selected)).log()
    losses = torch.randn(1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = all_pairs(3)
    position = (pairs * torch.tensor([4, 2, 1])).sum(dim=1)
    probability = log_pair_probability(distribution.probabilities(), pairs).exp()
    of_members = losses[:, position]
    advantages = of_members - mean_of_others(of_members, 2)
    weights = probability.repeat_interleave(2, dim=1) / 2
    biased = reinforce_gradient(weights, advantages, pairs, distribution.probabilities())
    exact = derivative(distribution, losses)
    assert (biased - exact).abs().max() > 0.05
    torch.testing.assert_close(disarm_gradient(probability, of_members, pairs, distribution.probabilities()), exact)


def test_at_one_half_a_pair_selects_every_block_once() -> None:
    distribution = ArchitectureDistribution(3, (2,) * 6)
    pairs = draw_pairs(distribution, num_pairs=5, seed=0, step=3)
    assert pairs.shape == (10, 6)
    assert (pairs[0::2] + pairs[1::2] == 1).all()


def test_drawn_pairs_follow_their_probability_and_their_key() -> None:
    distribution = random_distribution(2)
    drawn = torch.cat([draw_pairs(distribution, num_pairs=6, seed=1, step=step) for step in range(700)])
    assert torch.equal(drawn[12:24], draw_pairs(distribution, num_pairs=6, seed=1, step=1))
    assert torch.equal(drawn[:4], draw_pairs(distribution, num_pairs=2, seed=1, step=0)), "whatever the number of pairs"
    code = (drawn * torch.tensor([2, 1])).sum(dim=1)
    found = (code[0::2] * 4 + code[1::2]).bincount(minlength=16) / (len(code) / 2)
    expected = log_pair_probability(distribution.probabilities(), all_pairs(2)).exp().mean(dim=0)
    torch.testing.assert_close(found.double(), expected, atol=0.025, rtol=0)


def test_every_task_takes_its_turn_in_a_step() -> None:
    """Of T certain distributions, each gives one of T pairs of every step."""
    distribution = ArchitectureDistribution(3, (2, 2, 2))
    distribution.logits[..., 1] = 60 * torch.eye(3).double() - 30
    for step in range(5):
        pairs = draw_pairs(distribution, num_pairs=3, seed=0, step=step)
        assert sorted(pairs[0::2].argmax(dim=1).tolist()) == [0, 1, 2]


def test_weights_count_labels_and_leave_out_what_no_pair_says() -> None:
    log_probability = torch.tensor([[0.0, 0.0], [0.0, -torch.inf], [-torch.inf, -torch.inf]]).double()
    weights = pair_weights(log_probability, torch.tensor([[1, 3], [1, 1], [1, 1]]))
    torch.testing.assert_close(weights.sum(dim=1), torch.tensor([1.0, 1.0, 0.0]).double())
    assert weights[1].tolist() == [1.0, 0.0]
    unlabelled = pair_weights(log_probability, torch.tensor([[0, 0], [1, 1], [1, 1]]))
    assert unlabelled[0].tolist() == [0.0, 0.0]


def test_variances_are_those_of_architectures_not_of_images() -> None:
    """Images that add 100 to all losses of a group change no variance within it."""
    values = torch.tensor([[1.0, 3.0, 101.0, 103.0]]).double()
    assert variance_within_groups(values, 2).tolist() == [2.0]
    values[0, :2] = torch.nan
    assert variance_within_groups(values, 2).tolist() == [2.0]


def test_a_group_of_one_has_no_others() -> None:
    with pytest.raises(ValueError, match="no others"):
        mean_of_others(torch.ones(1, 4), 1)
