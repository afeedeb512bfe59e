"""The weights of tasks: fixed, and by an uncertainty that is learnt."""

from __future__ import annotations

import math

import pytest
import torch

from fbnetv5.engine.task_weights import TaskWeights


def test_fixed_weights_multiply():
    weights = TaskWeights({"cls": 2.0, "det": 0.5}, learnt=False)
    assert float(weights("cls", torch.tensor(3.0)) + weights("det", torch.tensor(4.0))) == 8.0
    assert list(weights.parameters()) == []
    assert weights.sigmas() == {}


def test_uncertainty_starts_at_the_fixed_weights_and_ends_at_the_logarithm_of_losses():
    """s = 0 gives the loss; at the minimum sigma^2 is the loss, and the gradient for it is that of its logarithm."""
    weights = TaskWeights({"cls": 2.0, "det": 1.0}, learnt=True)
    losses = {"cls": torch.tensor(0.3, requires_grad=True), "det": torch.tensor(5.0, requires_grad=True)}
    assert float(sum(weights(task, loss) for task, loss in losses.items()).detach()) == pytest.approx(5.6)
    optimizer = torch.optim.LBFGS(weights.parameters(), max_iter=100)

    def total() -> torch.Tensor:
        optimizer.zero_grad()
        whole = sum(weights(task, loss) for task, loss in losses.items())
        whole.backward(inputs=list(weights.parameters()))
        return whole

    optimizer.step(total)
    for task, sigma in weights.sigmas().items():
        assert sigma**2 == pytest.approx(losses[task].item(), rel=1e-3)
        (gradient,) = torch.autograd.grad(weights(task, losses[task]), losses[task])
        assert gradient.item() == pytest.approx(weights.weights[task] / losses[task].item(), rel=1e-3)
        assert math.isfinite(sigma)
