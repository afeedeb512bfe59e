"""The iterations of a differentiable search: one path for the weights, all candidates for the architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, optim

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, derive_seed, forked
from fbnetv5.base.types import Batch, Source
from fbnetv5.config.schema import TrainConfig
from fbnetv5.data.loader import build_train_loader
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.divergence import DIVERGED, clip_gradient, require_finite
from fbnetv5.engine.log import RunLog
from fbnetv5.engine.optim import set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.engine.trainer import Trainable
from fbnetv5.projects.fna.problem import SearchProblem
from fbnetv5.projects.fna.relaxation import ArchitectureParameters
from fbnetv5.projects.fna.search_model import SearchModel, weights_at_rest

OF_ARCHITECTURE = 1  # part of keys, beside the step
MARK_SHIFT = 11  # of 63 bits: float64 holds the others


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


class Batches(NamedTuple):
    """The images of an iteration: for the weights and, where it is its turn, for the architecture."""

    weights: Batch
    architecture: Batch | None


@dataclass
class SearchRun(Trainable[Batches]):
    """The parts of a differentiable search, and its iteration; the architecture's rate is constant."""

    problem: SearchProblem
    schedule: Schedule
    model: SearchModel
    optimizer: optim.Optimizer
    alpha: ArchitectureParameters

    def __post_init__(self) -> None:
        self.config, self.world = self.problem.config, self.problem.world

    @property
    def duration(self) -> TrainConfig:
        """The node ``train``."""
        return self.config.train

    @property
    def num_images(self) -> int:
        """Images that the weights learn from."""
        return len(self.problem.splits.weights)

    def summary(self) -> str:
        problem, schedule = self.problem, self.schedule
        options, splits = problem.options, problem.splits
        start = f"parameters of {problem.seed.origin}" if options.start == "seed" else "random parameters"
        return (
            f"search {problem.space.name}, {len(problem.space.num_options)} layers, for "
            f"{type(self.model.head).__name__}, from {start}: {len(splits.weights):,} images for the weights, "
            f"{len(splits.architecture):,} for the architecture; {schedule.num_steps:,} steps of "
            f"{self.config.train.batch_size}, the architecture's from step {schedule.first:,} on"
        )

    def batches(self, start_step: int) -> Iterator[Batches]:
        schedule, splits, seed = self.schedule, self.problem.splits, self.config.seed
        steps = range(start_step, schedule.num_steps)
        weights = self._load(splits.weights, steps, seed)
        turns = range(schedule.num_due(start_step), schedule.num_due(schedule.num_steps))
        own = derive_seed(seed, Purpose.SPLIT, OF_ARCHITECTURE)  # other augmentation
        architecture = self._load(splits.architecture, turns, own)
        for step, batch in zip(steps, weights, strict=True):
            yield Batches(batch, next(architecture) if schedule.is_due(step) else None)

    def _load(self, source: Source, steps: range, seed: int) -> Iterator[Batch]:
        return build_train_loader(
            self.config.data,
            source,
            self.problem.target,
            self.world,
            steps=steps,
            batch_size=self.config.train.batch_size,
            workers=self.config.runtime.workers,
            seed=seed,
            normalisation=self.problem.normalisation,
        )

    def images(self, batch: Batches) -> list[Batch]:
        return [part for part in batch if part is not None]

    def step(self, step: int, batch: Batches) -> dict[str, float]:
        metrics = weight_step(self, step, batch.weights)
        return metrics if batch.architecture is None else metrics | architecture_step(self, step, batch.architecture)

    def record(self, step: int, log: RunLog) -> None:
        log.probabilities(step, {self.problem.target.name: self.shares()}, self.columns())

    def columns(self) -> list[str]:
        """Return a name for each candidate of each slot."""
        space = self.problem.space
        named = zip(space.slot_names, space.option_names, strict=True)
        return [f"{slot} {option}" for slot, options in named for option in options]

    def shares(self) -> list[float]:
        """Return the probability of each candidate of each slot."""
        rows = zip(self.alpha.probabilities().tolist(), self.problem.space.num_options, strict=True)
        return [share for row, count in rows for share in row[:count]]

    def state_dict(self) -> dict[str, Any]:
        return {"architecture": self.alpha.state_dict()}

    def restore(self, checkpoint: Checkpoint) -> None:
        super().restore(checkpoint)
        self.alpha.load_state_dict(checkpoint.state["architecture"])


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
    means, gradient = _shared(run, losses, gradient)
    require_finite({f"{name} of the architecture": loss for name, loss in means.items()}, step)
    if not gradient.isfinite().all():
        raise InputError(f"the gradient of the architecture parameters is not finite at step {step}. {DIVERGED}")
    run.alpha.descend(gradient)
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


def _stacked(losses: list[dict[str, Tensor]]) -> Tensor:
    """Return the losses of micro-batches, [names, micro-batches]."""
    return torch.stack([torch.stack([loss.detach() for loss in part.values()]) for part in losses], dim=1)


def _means(run: SearchRun, losses: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return each loss's mean over micro-batches and ranks."""
    means = run.problem.world.gather(_stacked(losses)).mean(dim=1)
    return dict(zip(losses[0], means.tolist(), strict=True))


def _shared(run: SearchRun, losses: list[dict[str, Tensor]], gradient: Tensor) -> tuple[dict[str, float], Tensor]:
    """Return the means of losses and of a gradient, float64 [B, O], over ranks, in one gather.

    A mark of the architecture parameters goes with them: those that the gradient is for.

    Raises:
        RuntimeError: the ranks' parameters differ.
    """
    world, own = run.problem.world, _stacked(losses)
    mark = gradient.new_tensor([run.alpha.fingerprint() >> MARK_SHIFT])
    every = world.gather(torch.cat([mark, own.double().flatten().cpu(), gradient.flatten()])[:, None])  # [n, ranks]
    world.require_equal(every[0].tolist(), "the architecture parameters")
    found, slopes = every[1:].split([own.numel(), gradient.numel()])
    of_ranks = found.view(*own.shape, world.size).transpose(1, 2).flatten(1).to(own.dtype)
    means = dict(zip(losses[0], of_ranks.mean(dim=1).tolist(), strict=True))
    return means, slopes.view(*gradient.shape, world.size).mean(dim=-1)
