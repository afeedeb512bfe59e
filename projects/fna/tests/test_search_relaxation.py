"""The expected cost against all architectures, and where its weight takes the architecture parameters."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fbnetv5.projects.fna.relaxation import ArchitectureParameters, cost_table, expected_cost

COSTS = ((3.0, 1.0, 8.0), (5.0, 2.0), (0.0, 4.0, 7.0))
NUM_OPTIONS = (3, 2, 3)
FIXED = 11.0


def parameters(cost_weight=0.0, lr=0.05):
    return ArchitectureParameters(COSTS, fixed_cost=FIXED, cost_weight=cost_weight, lr=lr)


def set_alpha(alpha, seed=3):
    drawn = torch.randn(alpha.distribution.logits.shape, generator=torch.Generator().manual_seed(seed))
    alpha.distribution.logits.copy_(drawn)
    return alpha


def enumerated_cost(alpha):
    """The mean cost over all architectures, each weighed by its probability."""
    p = alpha.probabilities()
    total = 0.0
    for choices in itertools.product(*(range(n) for n in NUM_OPTIONS)):
        probability = math.prod(p[layer, choice].item() for layer, choice in enumerate(choices))
        total += probability * (FIXED + sum(COSTS[i][c] for i, c in enumerate(choices)))
    return total


def test_expected_cost_is_the_mean_over_all_architectures():
    alpha = set_alpha(parameters())
    assert alpha.expected_cost() == pytest.approx(enumerated_cost(alpha), rel=1e-12)


def test_expected_cost_of_a_certain_architecture_is_its_cost():
    certain = torch.tensor([[0, 0, 1.0], [0, 1, 0], [0, 1, 0]], dtype=torch.float64)
    assert expected_cost(certain, cost_table(COSTS), FIXED).item() == 8 + 2 + 4 + FIXED


def test_the_gradient_of_the_cost_agrees_with_finite_differences():
    """What one step of plain descent would follow: d lg cost / d alpha."""
    alpha = set_alpha(parameters(cost_weight=1.0, lr=1e-9))
    logits = alpha.distribution.logits
    alpha.descend(torch.zeros_like(alpha.probabilities()))
    gradient = alpha.optimizer.param_groups[0]["params"][0].grad.clone()
    for layer, option in itertools.product(range(3), range(3)):
        values = []
        for step in (1e-5, -1e-5):
            logits[0, layer, option] += step
            values.append(math.log10(alpha.expected_cost()))
            logits[0, layer, option] -= step
        assert gradient[0, layer, option].item() == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-9)


def test_descent_finds_the_operations_of_the_least_loss():
    alpha = parameters()
    losses = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
    for _ in range(100):
        alpha.descend(losses)
    assert alpha.most_likely() == (1, 0, 2)
    assert alpha.probabilities()[1, 2] == 0, "an operation that the layer does not have"


def test_cost_falls_as_its_weight_rises():
    """Operations that cost more lose less, in each layer by another amount: the weight decides where that pays."""
    losses = -torch.tensor([[0.005], [0.02], [0.06]], dtype=torch.float64) * cost_table(COSTS)
    found = []
    for cost_weight in (0.0, 1.0, 100.0):
        alpha = parameters(cost_weight)
        for _ in range(150):
            alpha.descend(losses)
        found.append(alpha.expected_cost())
    assert found[0] > found[1] > found[2]
    assert found[0] == pytest.approx(8 + 5 + 7 + FIXED, rel=0.02)
    assert found[2] == pytest.approx(1 + 2 + 0 + FIXED, rel=0.02)


def test_paths_follow_the_probabilities_and_the_step_alone():
    alpha = set_alpha(parameters())
    drawn = torch.tensor([alpha.sample(0, step) for step in range(2000)])
    for layer, size in enumerate(NUM_OPTIONS):
        share = drawn[:, layer].bincount(minlength=3)[:size] / len(drawn)
        torch.testing.assert_close(share.double(), alpha.probabilities()[layer, :size], rtol=0, atol=0.04)
    assert alpha.sample(0, 5) == tuple(drawn[5].tolist())


def test_a_restored_state_goes_on_alike():
    losses = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
    whole, first = parameters(1.0), parameters(1.0)
    for _ in range(6):
        whole.descend(losses)
    for _ in range(3):
        first.descend(losses)
    second = parameters(1.0)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.descend(losses)
    assert torch.equal(whole.distribution.logits, second.distribution.logits)
    assert whole.fingerprint() == second.fingerprint() != first.fingerprint()


def test_the_gradient_is_clipped():
    free, clipped = parameters(), parameters()
    clipped.clip_norm = 1e-3
    losses = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
    for alpha in (free, clipped):
        alpha.descend(losses)
    assert clipped.optimizer.param_groups[0]["params"][0].grad.norm() == pytest.approx(1e-3, rel=1e-4)
    assert free.optimizer.param_groups[0]["params"][0].grad.norm() > 0.1
