"""What must hold before a supernet is trained, and while it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fbnetv5.archs.families import STRIDES
from fbnetv5.config import RunConfig
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
    if config.optimizer.nesterov and config.optimizer.momentum == 0:
        raise InputError("optimizer.nesterov=true needs optimizer.momentum above 0")
    if search.num_samples % world.size:
        raise InputError(f"search.num_samples={search.num_samples} cannot be shared by {world.size} processes")
    if search.batch_size % search.num_samples:
        raise InputError(
            f"search.batch_size={search.batch_size} must be a multiple of search.num_samples={search.num_samples}: "
            "each architecture sees an equal share of the images"
        )
    if config.data.area is None and config.data.crop > config.data.short_side:
        raise InputError(
            f"data.crop={config.data.crop} is larger than data.short_side={config.data.short_side}: images would be "
            "padded. Raise data.short_side or lower data.crop"
        )
    side = config.data.crop // STRIDES[-1]
    if search.batch_size // search.num_samples * side * side < 2:
        raise InputError(
            f"one image of {config.data.crop} pixels an architecture leaves batch normalisation a single value on "
            "path 3; raise search.batch_size or data.crop"
        )
    unknown = set(search.task_weights) - set(config.tasks)
    if unknown:
        raise InputError(f"search.task_weights names {', '.join(sorted(unknown))}, which is no task of this run")


def check_labels(tasks: Mapping[str, Task], source: Source) -> None:
    """Raise InputError for a task that no image of the training split is labelled for."""
    for name, task in tasks.items():
        if source.num_labelled(task.target.name) == 0:
            raise InputError(
                f"task '{name}' needs '{task.target.name}', and no image of the training split is labelled with it; "
                f"give its labels under data.train or remove tasks.{name}"
            )


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
        raise InputError(f"the gradient of the shared weights is {norm.item()} at step {step}. {DIVERGED}")
