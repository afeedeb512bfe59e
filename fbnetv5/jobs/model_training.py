"""What trainings of models of one task and of several have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from timm.utils import ModelEmaV3
from torch import nn, optim

from fbnetv5.archs.cost import has_one_pixel
from fbnetv5.archs.family import STRIDES, Family
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, NothingToRateError
from fbnetv5.base.types import Batch, Source, Target
from fbnetv5.config.schema import RunConfig, TrainConfig
from fbnetv5.data.augmentation import check_crop
from fbnetv5.data.loader import build_loader
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.divergence import clip_gradient, require_finite
from fbnetv5.engine.optim import check_optimizer, set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.engine.trainer import Trainable, check_duration
from fbnetv5.jobs.evaluate import evaluate_on
from fbnetv5.model.joint_net import JointModel
from fbnetv5.model.task_net import TaskNet

SYNC_BN_BELOW = 16  # images at a time on a GPU, which BN's statistics are too noisy for
Model = TypeVar("Model", TaskNet, JointModel)


@dataclass
class ModelTraining(Trainable[Batch], Generic[Model]):
    """The parts of a training of a final model, and what follows a step's gradient."""

    config: RunConfig
    world: World
    source: Source
    val_source: Source | None
    model: Model
    optimizer: optim.Optimizer
    ema: ModelEmaV3 | None

    @property
    def duration(self) -> TrainConfig:
        """The node ``train``."""
        return self.config.train

    @property
    def averaged(self) -> Model:
        """The model that is evaluated and saved: the moving average, where there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def evaluate_every(self) -> int | None:
        """Steps between two evaluations before the end."""
        return self.config.train.eval_every

    def loader(
        self, images: Source, targets: Sequence[Target], start_step: int, *, keep_unknown: bool = False
    ) -> Iterable[Batch]:
        """Return this rank's batches from a step on, of ``images`` with the labels of ``targets``.

        ``keep_unknown`` is :func:`~fbnetv5.data.loader.build_loader`'s.
        """
        config = self.config
        return build_loader(
            config.data,
            images,
            targets,
            self.world,
            steps=range(start_step, self.num_steps),
            batch_size=config.train.batch_size,
            workers=config.runtime.workers,
            seed=config.seed,
            normalisation=self.model.normalisation,
            keep_unknown=keep_unknown,
        )

    def statistics(self, model: Model) -> nn.Module:
        """Return what of the model, or of its average, has statistics of BN that ranks keep for themselves."""
        return model

    def average_statistics(self) -> None:
        for model in dict.fromkeys((self.model, self.averaged)):
            self.world.average_buffers(self.statistics(model))

    def evaluate(self) -> dict[str, float]:
        if self.val_source is None:
            return {}
        self.world.average_buffers(self.statistics(self.averaged))
        try:
            return evaluate_on(self.config, self.averaged, self.val_source, self.world)
        except NothingToRateError as error:  # of all processes; no reason to end a training
            tell_unrated(error, self.world)
            return {}

    def state_dict(self) -> dict[str, Any]:
        return {"ema": None if self.ema is None else self.ema.module.state_dict()}

    def restore(self, checkpoint: Checkpoint) -> None:
        super().restore(checkpoint)
        if self.ema is not None:
            self.ema.module.load_state_dict(checkpoint.state["ema"])

    def update(self, step: int, loss: float, losses: Mapping[str, float]) -> dict[str, float]:
        """Move weights and their average by the gradient that they have.

        Args:
            step: its number.
            loss: what the gradient is of.
            losses: its parts, by name.

        Returns:
            the step's metrics: the losses, and the rate.

        Raises:
            InputError: a loss or the gradient is not finite.
        """
        require_finite(losses, step)
        clip_gradient(self.model, self.config.optimizer.clip_norm, step)
        lr = self.config.optimizer.lr * self.rate_factor(step)
        set_lr(self.optimizer, lr)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model, step=step + 1)
        return {"loss": loss, **losses, "lr": lr}


def tell_unrated(error: NothingToRateError, world: World) -> None:
    """Say that a model has no metrics, and why."""
    if world.is_main:
        print(f"the model is not rated: {error}", file=sys.stderr, flush=True)


def placed(model: nn.Module, config: RunConfig, world: World) -> None:
    """Put a model where, and into the precision and memory format that, it is trained in."""
    model.to(device=world.device, dtype=WEIGHT_DTYPES[config.runtime.precision])
    model.to(memory_format=torch.channels_last)


def build_average(model: nn.Module, train: TrainConfig) -> ModelEmaV3 | None:
    """Build the moving average of a model's weights, where the config asks for it."""
    return None if train.ema is None else ModelEmaV3(model, train.ema, use_warmup=train.ema_warmup)


def synchronises_bn(config: RunConfig, world: World) -> bool:
    """Whether GPUs share BN's statistics: as ``train.sync_bn`` says, else where each sees few images."""
    wanted = config.train.sync_bn
    if wanted is None:
        wanted = config.train.batch_size // (world.size * config.train.accumulate) < SYNC_BN_BELOW
    return wanted and world.size > 1 and world.device.type == "cuda"  # torch has it on GPUs alone


def check_train_sizes(config: RunConfig, world: World, family: Family | None, *, partial: bool = False) -> None:
    """Raise InputError unless steps, batch, accumulation and processes of a training fit together.

    Args:
        config: of the run.
        world: the processes.
        family: of the network; None for a network of a project.
        partial: some images have no label for a head, so that it may see one image of a batch alone.
    """
    train = config.train
    check_duration("train", train)
    if train.batch_size % (world.size * train.accumulate):
        raise InputError(
            f"train.batch_size={train.batch_size} must be a multiple of {world.size} process(es) x "
            f"train.accumulate={train.accumulate}"
        )
    if train.ema is not None and train.ema >= 1:
        raise InputError(f"train.ema={train.ema} would never move: it is a decay below 1, such as 0.9998")
    check_optimizer(config.optimizer)
    check_crop(config.data)
    images = 1 if partial else train.batch_size // (world.size * train.accumulate)
    data, key = config.data, "data.short_side" if config.data.crop is None else "data.crop"
    side = int(data.short_side * (data.scale or [1.0])[0]) if data.crop is None else data.crop
    if images == 1 and (side <= STRIDES[-1] if family is None else has_one_pixel(family, side, -1)):
        enough = "raise " if partial else "lower train.accumulate, or raise train.batch_size or "
        raise InputError(
            f"one image of {side} pixels at a time leaves batch normalisation a single value on path 3; {enough}{key}"
        )
