"""Search methods behind one protocol; FBNetV5's algorithm 4, and sampling without learning.

An iteration asks the method three things, in this order: which architectures to run (:meth:`draw`), how much each
task's loss counts on each of them (:meth:`loss_weights`), and to learn from the losses that came out (:meth:`update`).
All processes ask the same questions with the same gathered tensors and get the same bits. Algorithms 1 to 3, which
learn from derivatives as well, are in ``differentiable.py``.

Shapes: T tasks, N architectures of an iteration, B slots, O options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.estimators import LossHistory, importance_weights, reinforce_gradient, weighted_mean
from fbnetv5.search.space import SearchSpace, relative_costs


@dataclass(frozen=True)
class Draw:
    """The architectures of an iteration. How they are given decides how many passes a sample takes (Table 1).

    Attributes:
        choices: int64, [N, B] where the tasks share an architecture, and its forward pass; [T, N, B] where each task
            has its own.
        gates: float64 [T, N, B, O], how much of each option counts for a task, in the place of ``choices``: a leaf
            that takes a gradient. Each task then has a backward pass of its own, and its losses that are given to
            :meth:`SearchAlgorithm.update` carry their gradient with respect to them. None for methods that need the
            losses' values only, and one backward pass.
    """

    choices: Tensor
    gates: Tensor | None = None

    @property
    def shared(self) -> bool:
        """Whether all tasks run the same architectures."""
        return self.choices.ndim == 2


class SearchAlgorithm(Protocol):
    """A search method, built as ``Method(space, num_tasks=T, num_samples=N, seed=seed, **options)``.

    Draws are keyed by (seed, step, sample), see ``fbnetv5.base.seeding``, so that all processes and resumed runs agree.
    """

    distribution: ArchitectureDistribution
    """The tasks' probabilities: recorded, compared between processes, and what the topologies are derived from."""

    def draw(self, step: int) -> Draw:
        """Return the N architectures to run at this step, or N for each task."""

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return w [T, N]: the loss to minimise is sum_t sum_i w_ti l_t(a_i). Needs the label counts [T, N] only."""

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Learn from the losses [T, N] of a draw, ignored where nothing is labelled; lr 0 only observes."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""


class MultitaskReinforce:
    """FBNetV5's algorithm 4: importance sampling from a shared proxy, REINFORCE for every task's distribution.

    Args:
        space: what is searched.
        num_tasks: T.
        num_samples: N, architectures an iteration over all processes.
        seed: of the draws, which are keyed by (seed, step, sample).
        baseline: what a loss is compared with: ``weighted``, the importance-weighted mean of the iteration (needs
            N >= 2), or ``history``, the paper's mean over the last 200 iterations.
        cost_weight: lambda, the weight of the cost term beside the normalised loss.
        cost_target: share of the dearest architecture's cost up to which cost is free.
        window: iterations over which a task's loss is normalised.

    Raises:
        InputError: the weighted baseline with a single sample, which would cancel every loss; an unknown baseline; a
            negative weight or an empty window.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_tasks: int,
        num_samples: int,
        seed: int,
        baseline: Literal["weighted", "history"] = "weighted",
        cost_weight: float = 1.0,
        cost_target: float = 0.5,
        window: int = 200,
    ) -> None:
        if baseline == "weighted" and num_samples < 2:
            raise InputError(
                "baseline=weighted compares the samples of an iteration and needs at least 2, got 1; "
                "raise search.num_samples or set search.algorithm.baseline=history"
            )
        if baseline not in ("weighted", "history"):
            raise InputError(f"search.algorithm.baseline={baseline} is none of weighted, history")
        check_options(cost_weight, window)
        self.space = space
        self.num_samples = num_samples
        self.seed = seed
        self.baseline = baseline
        self.cost_weight = cost_weight
        self.cost_target = cost_target
        self.distribution = ArchitectureDistribution(num_tasks, space.num_options)
        self.history = LossHistory(num_tasks, window)

    def draw(self, step: int) -> Draw:
        """Draw N architectures from q; a draw depends on (seed, step, sample) and the logits alone."""
        return Draw(draw_proxy(self.distribution, self.num_samples, self.seed, step))

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return the self-normalised importance weights, [T, N]."""
        return importance_weights(self.distribution.log_ratio(draw.choices), num_labelled)

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Step the logits down the REINFORCE gradient of the normalised loss plus the cost term."""
        costs = (relative_costs(self.space, draw.choices) - self.cost_target).clamp(min=0)  # [N]
        self.history.add(losses, num_labelled > 0, costs)
        if lr == 0:
            return
        weights = self.loss_weights(draw, num_labelled)
        gradient = reinforce_gradient(
            weights, self._advantages(weights, losses, costs), draw.choices, self.distribution.probabilities()
        )
        enough = self.history.num_samples() >= 2  # [T]
        self.distribution.descend(gradient * enough[:, None, None], lr)

    def _advantages(self, weights: Tensor, losses: Tensor, costs: Tensor) -> Tensor:
        """(l - b) / sigma + lambda (cost - c), [T, N], with b and c by the chosen baseline."""
        costs = costs.expand_as(losses)
        if self.baseline == "weighted":
            loss_baseline, cost_baseline = weighted_mean(weights, losses), weighted_mean(weights, costs)
        else:
            loss_baseline, cost_baseline = self.history.mean(), self.history.mean_cost().expand(len(losses))
        scale = self.history.scale()
        return (losses - loss_baseline[:, None]) * scale[:, None] + self.cost_weight * (costs - cost_baseline[:, None])

    def state_dict(self) -> dict[str, Any]:
        """Return the logits and the loss history."""
        return {"logits": self.distribution.logits, "history": self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""
        self.distribution.logits = state["logits"]
        self.history.load_state_dict(state["history"])


class RandomSampling:
    """Architectures drawn with all options equally likely, for ever: pretraining, and the random-search baseline."""

    def __init__(self, space: SearchSpace, *, num_tasks: int, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.distribution = ArchitectureDistribution(num_tasks, space.num_options)

    def draw(self, step: int) -> Draw:
        """Draw N architectures uniformly."""
        keys = [(Purpose.ARCHITECTURES, step, sample) for sample in range(self.num_samples)]
        return Draw(torch.stack([self.distribution.sample_task(0, generator(self.seed, *key)) for key in keys]))

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return the share of a task's labelled images that each sample holds, [T, N]."""
        return importance_weights(self.distribution.log_ratio(draw.choices), num_labelled)

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing."""


def draw_proxy(distribution: ArchitectureDistribution, num_samples: int, seed: int, step: int) -> Tensor:
    """Draw architectures from q, int64 [N, B], keyed by (seed, step, sample)."""
    keys = [(Purpose.ARCHITECTURES, step, sample) for sample in range(num_samples)]
    return torch.stack([distribution.sample_proxy(generator(seed, *key)) for key in keys])


def check_options(cost_weight: float, window: int) -> None:
    """Raise InputError for a negative weight of the cost term, or an empty window."""
    if cost_weight < 0 or window < 1:
        raise InputError(f"search.algorithm: cost_weight={cost_weight} or window={window} is too small")
