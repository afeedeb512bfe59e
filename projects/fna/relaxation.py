"""The architecture parameters of a search, their relaxation, and the expected cost (FNA++, eq. 7 to 9).

Shapes: B searched layers, O operations (of the layer that has most of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, optim

from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.search.derive import most_likely
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.estimators import through_softmax


def cost_table(costs: Sequence[Sequence[float]]) -> Tensor:
    """Return the costs of each layer's operations as float64 [B, O]; zero where a layer has no such operation."""
    rows = [torch.tensor(row, dtype=torch.float64) for row in costs]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def expected_cost(probabilities: Tensor, costs: Tensor, fixed: float) -> Tensor:
    """Return the cost of a network in expectation, a differentiable scalar (FNA++, eq. 9).

    Layers choose independently, so the expectation of the sum is the sum of the layers' expectations.

    Args:
        probabilities: of each operation, [B, O].
        costs: of each operation, [B, O].
        fixed: cost of the layers that are not searched.
    """
    return (probabilities * costs).sum() + fixed


class ArchitectureParameters:
    """alpha: one logit for each operation of each layer, at first zero; Adam moves them.

    They live on the CPU in float64, whatever the network runs on, so that all processes hold the same bits.

    Args:
        costs: of each layer the costs of its operations.
        fixed_cost: cost of the layers that are not searched.
        cost_weight: lambda of eq. 8.
        lr: Adam's rate.
        betas: Adam's.
        weight_decay: Adam's, added to the gradient.
        clip_norm: the norm that the gradient is clipped to, if any.
    """

    def __init__(
        self,
        costs: Sequence[Sequence[float]],
        *,
        fixed_cost: float,
        cost_weight: float,
        lr: float,
        betas: Sequence[float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        self.distribution = ArchitectureDistribution(1, [len(row) for row in costs])
        self.costs = cost_table(costs)
        self.fixed_cost = fixed_cost
        self.cost_weight = cost_weight
        self.clip_norm = clip_norm
        self._alpha = torch.nn.Parameter(self.distribution.logits)  # Adam moves the distribution's own memory
        self.optimizer = optim.Adam([self._alpha], lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay)

    def probabilities(self) -> Tensor:
        """Return softmax(alpha), float64 [B, O]; zero where a layer has no such operation."""
        return self.distribution.probabilities()[0]

    def expected_cost(self) -> float:
        """Return the cost of a network in expectation (eq. 9)."""
        return expected_cost(self.probabilities(), self.costs, self.fixed_cost).item()

    def sample(self, seed: int, step: int) -> tuple[int, ...]:
        """Draw the path of an iteration: an operation for each of the B layers, the same in every process."""
        drawn = self.distribution.sample_task(0, generator(seed, Purpose.ARCHITECTURES, step))
        return tuple(drawn.tolist())

    def most_likely(self) -> tuple[int, ...]:
        """Return the operation of the largest alpha of each of the B layers; of equals the first."""
        return most_likely(self.probabilities())

    def descend(self, task_gradient: Tensor) -> None:
        """Take one step of Adam down L = L_task + lambda lg cost (eq. 8).

        Args:
            task_gradient: of the task's loss with respect to :meth:`probabilities`, float64 [B, O].
        """
        probabilities = self.probabilities().requires_grad_()
        cost = expected_cost(probabilities, self.costs, self.fixed_cost)
        objective = (probabilities * task_gradient).sum() + self.cost_weight * cost.log10()
        (gradient,) = torch.autograd.grad(objective, probabilities)
        self._alpha.grad = through_softmax(probabilities.detach(), gradient)[None]
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([self._alpha], self.clip_norm)
        self.optimizer.step()

    def fingerprint(self) -> int:
        """Return 63 bits of a hash of alpha, to compare processes with."""
        return self.distribution.fingerprint()

    def state_dict(self) -> dict[str, Any]:
        """Return alpha and Adam's state."""
        return {"logits": self.distribution.logits, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""
        self.distribution.logits.copy_(state["logits"])
        self.optimizer.load_state_dict(state["optimizer"])
