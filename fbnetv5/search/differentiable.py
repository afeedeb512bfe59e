"""FBNetV5's algorithms 1 to 3: searches that take the loss's gradient to the choices of an architecture.

An architecture's choices are relaxed to *gates*, how much of each option counts, through which the network is computed
with all its blocks. A backward pass then gives the gates' gradient, and the gates say how they follow from the logits:

straight-through   g = onehot(a) + p - stop(p), a ~ p: the forward pass sees ``a``, and dg/dtheta = dp/dtheta
Gumbel-softmax     g = softmax((log p + G) / temperature), G Gumbel noise: both passes see the mixture

Shapes: T tasks, N architectures of an iteration, B slots, O options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.search.algorithms import Draw, check_options, draw_proxy
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.estimators import LossHistory, importance_weights, through_softmax, weighted_mean
from fbnetv5.search.space import CostTerm, SearchSpace


class Differentiable(ABC):
    """The base of algorithms 1 to 3, whose logits follow the gates' gradient. They differ in what they draw.

    Args:
        space: what is searched.
        num_tasks: T.
        num_samples: N, architectures an iteration over all processes.
        seed: of the draws, which are keyed by (seed, step, sample), and by the task where each has its own.
        cost_weight: lambda, the weight of the cost term beside the normalised loss.
        cost_target: share of the dearest architecture's cost up to which cost is free.
        window: iterations over which a task's loss is normalised.

    Raises:
        InputError: a negative weight or an empty window.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_tasks: int,
        num_samples: int,
        seed: int,
        cost_weight: float = 1.0,
        cost_target: float = 0.5,
        window: int = 200,
    ) -> None:
        check_options(cost_weight, window)
        self.space = space
        self.num_samples = num_samples
        self.seed = seed
        self.cost_term = CostTerm(cost_weight, cost_target)
        self.distribution = ArchitectureDistribution(num_tasks, space.num_options)
        self.history = LossHistory(num_tasks, window)

    @abstractmethod
    def draw(self, step: int) -> Draw:
        """Return the N architectures to run at this step, or N for each task, with their gates."""

    @abstractmethod
    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return w [T, N]; see :meth:`SearchAlgorithm.loss_weights`."""

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Step the logits down the gradient of sum_i w_ti (l_ti / sigma_t + lambda max(0, cost(g_ti) - target)).

        Args:
            draw: of this iteration.
            losses: [T, N], ignored where nothing is labelled, with their gradient with respect to ``draw.gates``.
            num_labelled: images of sample i that are labelled for task t, [T, N].
            lr: 0 only observes.
        """
        self.history.add(losses.detach(), num_labelled > 0)
        if lr == 0:
            return
        assert draw.gates is not None
        costs = self.cost_term.relaxed(self.space, draw.gates)  # [T, N]
        normalised = losses * self.history.scale()[:, None] + costs
        objective = weighted_mean(self.loss_weights(draw, num_labelled), normalised)  # [T]
        enough = self.history.num_samples() >= 2  # [T]
        (gradient,) = torch.autograd.grad((objective * enough).sum(), draw.gates)  # [T, N, B, O]
        self.distribution.descend(self._to_logits(draw.gates.detach(), gradient).sum(dim=1), lr)

    def _to_logits(self, gates: Tensor, gradient: Tensor) -> Tensor:
        """Take a gradient [T, N, B, O] from the gates of each sample to the logits: dg/dtheta is dp/dtheta."""
        return through_softmax(self.distribution.probabilities()[:, None], gradient)

    def state_dict(self) -> dict[str, Any]:
        """Return the logits and the loss history."""
        return {"logits": self.distribution.logits, "history": self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""
        self.distribution.logits = state["logits"]
        self.history.load_state_dict(state["history"])


class SharedForward(Differentiable):
    """FBNetV5's algorithm 3: one forward pass on an architecture drawn from the proxy, a backward pass for each task.

    Always straight-through: the tasks share what was drawn, so no task's logits have shaped it.
    """

    def draw(self, step: int) -> Draw:
        """Draw N architectures from q, the same as algorithm 4 would; every task sees their gates."""
        choices = draw_proxy(self.distribution, self.num_samples, self.seed, step)
        return Draw(choices, _one_hot_gates(choices.expand(self.distribution.num_tasks, *choices.shape), self.space))

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return the self-normalised importance weights, [T, N]."""
        return importance_weights(self.distribution.log_ratio(draw.choices), num_labelled)


class TaskByTask(Differentiable):
    """FBNetV5's algorithm 2: each task draws its own architectures, and has forward and backward passes of its own.

    Args:
        relaxation: ``straight_through`` or ``gumbel_softmax``; see the module.
        temperature: of gumbel_softmax; the gates are the closer to zero and one, the lower it is.

    For the other arguments see :class:`Differentiable`.

    Raises:
        InputError: an unknown relaxation, a temperature that is not positive; as :class:`Differentiable`.
    """

    max_tasks: ClassVar[int | None] = None

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_tasks: int,
        num_samples: int,
        seed: int,
        relaxation: Literal["straight_through", "gumbel_softmax"] = "straight_through",
        temperature: float = 1.0,
        cost_weight: float = 1.0,
        cost_target: float = 0.5,
        window: int = 200,
    ) -> None:
        if self.max_tasks is not None and num_tasks > self.max_tasks:
            raise InputError(
                f"{type(self).__name__} searches for one task, and there are {num_tasks}: run one search for each, or "
                f"set search.algorithm._target_={TaskByTask.__module__}.{TaskByTask.__name__}"
            )
        if relaxation not in ("straight_through", "gumbel_softmax"):
            raise InputError(f"search.algorithm.relaxation={relaxation} is none of straight_through, gumbel_softmax")
        if temperature <= 0:
            raise InputError(f"search.algorithm.temperature={temperature} is too small: above 0")
        super().__init__(
            space,
            num_tasks=num_tasks,
            num_samples=num_samples,
            seed=seed,
            cost_weight=cost_weight,
            cost_target=cost_target,
            window=window,
        )
        self.temperature = temperature if relaxation == "gumbel_softmax" else None

    def draw(self, step: int) -> Draw:
        """Draw N architectures for each task from its own distribution, keyed by (seed, step, sample, task)."""
        tasks, samples = range(self.distribution.num_tasks), range(self.num_samples)
        rngs = [[generator(self.seed, Purpose.ARCHITECTURES, step, i, task) for i in samples] for task in tasks]
        if self.temperature is not None:
            noise = torch.stack([torch.stack([self._gumbel(rng) for rng in row]) for row in rngs])  # [T, N, B, O]
            perturbed = self.distribution.log_probabilities()[:, None] + noise
            gates = (perturbed / self.temperature).softmax(dim=-1).requires_grad_()
            return Draw(perturbed.argmax(dim=-1), gates)
        choices = torch.stack(
            [torch.stack([self.distribution.sample_task(task, rng) for rng in rngs[task]]) for task in tasks]
        )
        return Draw(choices, _one_hot_gates(choices, self.space))

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return the share of a task's labelled images that each sample holds, [T, N]; the samples are its own."""
        return importance_weights(torch.zeros(num_labelled.shape, dtype=torch.float64), num_labelled)

    def _to_logits(self, gates: Tensor, gradient: Tensor) -> Tensor:
        if self.temperature is None:
            return super()._to_logits(gates, gradient)
        return through_softmax(gates, gradient) / self.temperature

    def _gumbel(self, rng: torch.Generator) -> Tensor:
        """Draw standard Gumbel noise, float64 [B, O]."""
        shape = self.distribution.logits.shape[1:]
        return -torch.empty(shape, dtype=torch.float64).exponential_(generator=rng).log()


class SingleTask(TaskByTask):
    """FBNetV5's algorithm 1, one search for one task: algorithm 2 with a single task, and refused with more."""

    max_tasks = 1


def _one_hot_gates(choices: Tensor, space: SearchSpace) -> Tensor:
    """Return gates float64 [..., B, O] that stand for choices [..., B], as a leaf that takes a gradient."""
    return F.one_hot(choices, max(space.num_options)).double().requires_grad_()
