"""The iterations of a differentiable search: one path for the weights, all candidates for the architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, optim

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, derive_seed, forked
from fbnetv5.base.types import Batch
from fbnetv5.data.loader import build_train_loader
from fbnetv5.engine.divergence import DIVERGED, clip_gradient, require_finite
from fbnetv5.engine.optim import rate_factor, set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.projects.fna.problem import SearchProblem
from fbnetv5.projects.fna.relaxation import ArchitectureParameters
from fbnetv5.projects.fna.search_model import SearchModel, weights_at_rest

OF_ARCHITECTURE = 1  # part of keys, beside the step


class Schedule(NamedTuple):
    """Which iterations there are.

    Attributes:
        num_steps: of the weights.
        first: the weights learn alone before this one.
        every: from then on, iterations of the weights for each of the architecture.
    """

    num_steps: int
    first: int
    every: int

    def is_due(self, step: int) -> bool:
        """Whether the architecture learns after the weights' iteration ``step``."""
        return step >= self.first and (step - self.first) % self.every == 0

    def num_due(self, step: int) -> int:
        """Return how often the architecture learns in the iterations before ``step``."""
        return max(0, -(-(step - self.first) // self.every))


@dataclass
class SearchRun:
    """The parts of a differentiable search."""

    problem: SearchProblem
    schedule: Schedule
    model: SearchModel
    optimizer: optim.Optimizer
    alpha: ArchitectureParameters

    def rate_factor(self, step: int) -> float:
        """What the base rate of the weights is multiplied by at a step; the architecture's rate is constant."""
        config = self.problem.config
        steps_per_epoch = len(self.problem.splits.weights) / config.train.batch_size
        return rate_factor(config.optimizer.schedule, step, self.schedule.num_steps, steps_per_epoch)


class Batches(NamedTuple):
    """The images of an iteration: for the weights and, where it is its turn, for the architecture."""

    weights: Batch
    architecture: Batch | None


def search_batches(run: SearchRun, start_step: int) -> Iterator[Batches]:
    """Yield this rank's batches of the iterations from ``start_step`` on.

    Raises:
        InputError: an image cannot be read or its target is wrong; the message names it.
    """
    problem, schedule = run.problem, run.schedule
    config, world, splits = problem.config, problem.world, problem.splits
    weights = build_train_loader(config, splits.weights, problem.target, world, start_step, schedule.num_steps)
    own = replace(config, seed=derive_seed(config.seed, Purpose.SPLIT, OF_ARCHITECTURE))  # other augmentation
    due = (schedule.num_due(start_step), schedule.num_due(schedule.num_steps))
    architecture = build_train_loader(own, splits.architecture, problem.target, world, *due)
    for step, batch in zip(range(start_step, schedule.num_steps), weights, strict=True):
        yield Batches(batch, next(architecture) if schedule.is_due(step) else None)


def weight_step(run: SearchRun, step: int, batch: Batch) -> dict[str, float]:
    """Train the weights of one path, drawn for the iteration; all other candidates stay as they are.

    Returns:
        the losses, their means over micro-batches and ranks; the MACs of the path, and the rate.

    Raises:
        InputError: a loss or the gradient is not finite.
    """
    config, world = run.problem.config, run.problem.world
    choice = run.alpha.sample(config.seed, step)
    parts = batch.to(world.device, non_blocking=True).split(config.train.accumulate)
    run.optimizer.zero_grad(set_to_none=True)
    losses = []
    for index, part in enumerate(parts):
        found = _losses(run, part, (step, world.rank * len(parts) + index), choice=choice)
        (_total(found) / (len(parts) * world.size)).backward()
        losses.append(found)
    means = _means(run, losses)
    require_finite(means, step)
    world.sum_gradients(parameter for parameter in run.model.parameters() if parameter.grad is not None)
    clip_gradient(run.model, config.optimizer.clip_norm, step)
    lr = config.optimizer.lr * run.rate_factor(step)
    set_lr(run.optimizer, lr)
    run.optimizer.step()
    return {"loss": sum(means.values()), **means, "path_macs": float(run.problem.macs(choice)), "lr": lr}


def architecture_step(run: SearchRun, step: int, batch: Batch) -> dict[str, float]:
    """Train the architecture parameters on all candidates, each as much as its probability (eq. 7 and 8).

    Returns:
        the loss, its mean over micro-batches and ranks, and the expected MACs (eq. 9).

    Raises:
        InputError: a loss or the gradient is not finite. RuntimeError: the ranks' parameters differ.
    """
    config, world = run.problem.config, run.problem.world
    parts = batch.to(world.device, non_blocking=True).split(config.train.accumulate)
    probabilities = run.alpha.probabilities()
    gradient = torch.zeros_like(probabilities)
    losses = []
    for index, part in enumerate(parts):
        key = (step, world.rank * len(parts) + index, OF_ARCHITECTURE)
        found, slope = _gradient_of_shares(run, part, key, probabilities)
        gradient += slope / len(parts)
        losses.append(found)
    means = _means(run, losses)
    require_finite({f"{name} of the architecture": loss for name, loss in means.items()}, step)
    gradient = world.gather(gradient.unsqueeze(-1)).mean(dim=-1)
    if not gradient.isfinite().all():
        raise InputError(f"the gradient of the architecture parameters is not finite at step {step}. {DIVERGED}")
    run.alpha.descend(gradient)
    world.require_identical(run.alpha.fingerprint(), "the architecture parameters")
    return {"architecture_loss": sum(means.values()), "expected_macs": run.alpha.expected_cost()}


def _gradient_of_shares(
    run: SearchRun, part: Batch, key: tuple[int, ...], probabilities: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses of a pass through all candidates, and their gradient for the probabilities, float64 [B, O]."""
    config, device = run.problem.config, run.problem.world.device
    shares = probabilities.to(device, WEIGHT_DTYPES[config.runtime.precision]).requires_grad_()
    by_slot = [row[:count] for row, count in zip(shares, run.problem.space.num_options, strict=True)]
    with weights_at_rest(run.model):
        losses = _losses(run, part, key, weights=by_slot)
        (gradient,) = torch.autograd.grad(_total(losses), shares)
    return losses, gradient.cpu().double()


def _losses(
    run: SearchRun,
    part: Batch,
    key: tuple[int, ...],
    *,
    choice: tuple[int, ...] | None = None,
    weights: list[Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the losses of a micro-batch, by name; ``key`` is that of the head's own random draws."""
    config, device = run.problem.config, run.problem.world.device
    precision = config.runtime.precision
    images = part.images.to(WEIGHT_DTYPES[precision], memory_format=torch.channels_last)
    with forked(config.seed, Purpose.HEADS, *key, device=device), autocast(device, precision):
        losses: dict[str, Tensor] = run.model(images, part.targets, part.sizes, choice=choice, weights=weights)
    return losses


def _total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _means(run: SearchRun, losses: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return each loss's mean over micro-batches and ranks."""
    names = list(losses[0])
    local = torch.stack([torch.stack([part[name].detach() for name in names]) for part in losses], dim=1)
    return dict(zip(names, run.problem.world.gather(local.cpu()).mean(dim=1).tolist(), strict=True))
