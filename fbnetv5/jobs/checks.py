"""What must hold before a network is trained, and while it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fbnetv5.archs.families import STRIDES
from fbnetv5.config import DataConfig, OptimizerConfig, RunConfig
from fbnetv5.data.multitask import Source
from fbnetv5.engine.distributed import World
from fbnetv5.errors import InputError
from fbnetv5.tasks.task import Task

DIVERGED = (
    "Nothing was written since the last checkpoint. Lower optimizer.lr, warm up longer or set optimizer.clip_norm; "
    "where a resumed run ends like this at once, delete its latest checkpoint too"
)


def check_sizes(config: RunConfig, world: World) -> None:
    """Raise InputError unless steps, batch, samples and processes fit together."""
    search = config.search
    if (search.steps is None) == (search.epochs is None):
        raise InputError("give one of search.steps and search.epochs")
    check_optimizer(config.optimizer)
    if search.num_samples % world.size:
        raise InputError(f"search.num_samples={search.num_samples} cannot be shared by {world.size} processes")
    if search.batch_size % search.num_samples:
        raise InputError(
            f"search.batch_size={search.batch_size} must be a multiple of search.num_samples={search.num_samples}: "
            "each architecture sees an equal share of the images"
        )
    crop = crop_side(config.data)
    check_crop(config.data)
    side = crop // STRIDES[-1]
    if search.batch_size // search.num_samples * side * side < 2:
        raise InputError(
            f"one image of {crop} pixels an architecture leaves batch normalisation a single value on "
            "path 3; raise search.batch_size or data.crop"
        )
    unknown = set(search.task_weights) - set(config.tasks)
    if unknown:
        raise InputError(f"search.task_weights names {', '.join(sorted(unknown))}, which is no task of this run")


def check_train_sizes(config: RunConfig, world: World) -> None:
    """Raise InputError unless steps, batch, accumulation and processes of a training fit together."""
    train = config.train
    if (train.steps is None) == (train.epochs is None):
        raise InputError("give one of train.steps and train.epochs")
    if train.batch_size % (world.size * train.accumulate):
        raise InputError(
            f"train.batch_size={train.batch_size} must be a multiple of {world.size} process(es) x "
            f"train.accumulate={train.accumulate}"
        )
    if train.ema is not None and train.ema >= 1:
        raise InputError(f"train.ema={train.ema} would never move: it is a decay below 1, such as 0.9998")
    check_optimizer(config.optimizer)
    check_crop(config.data)
    images = train.batch_size // (world.size * train.accumulate)
    if config.data.crop is not None and images * (config.data.crop // STRIDES[-1]) ** 2 < 2:
        raise InputError(
            f"one image of {config.data.crop} pixels at a time leaves batch normalisation a single value on path 3; "
            "raise train.batch_size or data.crop, or lower train.accumulate"
        )
    shortest = config.data.short_side * (config.data.scale or [1.0])[0]
    if config.data.crop is None and images == 1 and shortest <= STRIDES[-1]:
        raise InputError(
            f"one image of {shortest:g} pixels at a time leaves batch normalisation a single value on path 3; raise "
            "train.batch_size or data.short_side, or lower train.accumulate"
        )


def check_optimizer(optimizer: OptimizerConfig) -> None:
    """Raise InputError for options that contradict each other."""
    if optimizer.nesterov and (optimizer.momentum == 0 or optimizer.name != "sgd"):
        raise InputError("optimizer.nesterov=true needs optimizer.name=sgd and optimizer.momentum above 0")


def crop_side(data: DataConfig) -> int:
    """Return ``data.crop``. Raises InputError where there is none and batches of whole images are not possible."""
    if data.crop is None:
        raise InputError("data.crop=null: a supernet is trained on crops of one size; give its side in pixels")
    if data.crop_width is not None:
        raise InputError(f"data.crop_width={data.crop_width}: a supernet is trained on squares; remove it")
    return data.crop


def check_crop(data: DataConfig) -> None:
    """Raise InputError for a crop that no image would fill."""
    if data.crop is not None and data.area is None and data.scale is None and data.crop > data.short_side:
        raise InputError(
            f"data.crop={data.crop} is larger than data.short_side={data.short_side}: images would be padded. Raise "
            "data.short_side or lower data.crop"
        )


def check_labels(tasks: Mapping[str, Task], source: Source) -> None:
    """Raise InputError for a task that no image of the training split is labelled for."""
    for name, task in tasks.items():
        if source.num_labelled(task.target.name) == 0:
            raise InputError(
                f"task '{name}' needs '{task.target.name}', and no image of the training split is labelled with it; "
                f"give its labels under data.train or remove tasks.{name}"
            )


def require_finite(losses: Mapping[str, float], step: int) -> None:
    """Raise InputError, with name and step, for a loss that is not finite."""
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise InputError(f"{name} is {loss} at step {step}. {DIVERGED}")


def require_finite_losses(losses: Tensor, num_labelled: Tensor, names: Sequence[str], step: int) -> None:
    """Raise InputError, with task and step, for a loss [T, N] that is not finite where images are labelled."""
    bad = ((num_labelled > 0) & ~losses.isfinite()).nonzero()
    if len(bad):
        task, sample = bad[0].tolist()
        value = losses[task, sample].item()
        raise InputError(f"the loss of task '{names[task]}' is {value} at step {step} (sample {sample}). {DIVERGED}")


def clip_gradient(model: nn.Module, clip_norm: float | None, step: int) -> None:
    """Clip the norm of the gradient, where asked for. Raises InputError if it is not finite."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip_norm is None else clip_norm)
    if not norm.isfinite():
        raise InputError(f"the gradient of the weights is {norm.item()} at step {step}. {DIVERGED}")
