"""SGD and AdamW, and their rate as a pure function of the position in the run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

from torch import nn, optim

from fbnetv5.base.errors import InputError
from fbnetv5.config.optimizer import OptimizerConfig, ScheduleConfig

BACKBONE = "network."  # what the names of the backbone's parameters start with; the others are the heads'


def build_optimizer(model: nn.Module, config: OptimizerConfig, undecayed: Collection[str] = ()) -> optim.Optimizer:
    """Build SGD or AdamW over all parameters that learn.

    Biases and the weights of normalisation (the one-dimensional ones) are not decayed, nor are those named in
    ``undecayed``. The backbone learns at ``config.backbone_factor`` times the rate of the heads. A step is a few
    operations a group, as small parameters cost more in Python than in arithmetic; SGD's is not ``fused``, which fails
    where some parameters have their first gradient later than others, as blocks of a supernet may.
    """
    groups = []
    for backbone, decayed in itertools.product((True, False), (True, False)):
        chosen = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
            and name.startswith(BACKBONE) == backbone
            and (parameter.ndim > 1 and name not in undecayed) == decayed
        ]
        if chosen:
            factor = config.backbone_factor if backbone else 1.0
            decay = config.weight_decay if decayed else 0.0
            groups.append({"params": chosen, "weight_decay": decay, "factor": factor, "lr": config.lr * factor})
    if config.name == "adamw":
        return optim.AdamW(groups, lr=config.lr, fused=True)
    return optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, foreach=True)


def set_lr(optimizer: optim.Optimizer, lr: float) -> None:
    """Set the rate of the heads to ``lr``, and that of the backbone to its factor of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def rate_factor(schedule: ScheduleConfig, step: int, num_steps: int, steps_per_epoch: float) -> float:
    """Return what the base rate is multiplied by at a step (0-based).

    ``constant``; ``multistep``: times gamma at every milestone; ``cosine``: from 1 to ``final`` over the run;
    ``cosine_restarts``: the same in each cycle (SGDR, 1608.03983); ``exponential``: times gamma each whole unit;
    ``poly``: the share of the run that is left, to ``power``. Over the first ``warmup`` units, also times a line from
    ``warmup_start`` to 1.

    Raises:
        ValueError: there is no such schedule.
    """
    unit = steps_per_epoch if schedule.unit == "epoch" else 1.0
    position = step / unit
    warmup = 1.0
    if position < schedule.warmup:
        warmup = schedule.warmup_start + (1 - schedule.warmup_start) * position / schedule.warmup
    match schedule.name:
        case "constant":
            return warmup
        case "multistep":
            return warmup * schedule.gamma ** sum(position >= milestone for milestone in schedule.milestones)
        case "cosine":
            return warmup * cosine(1.0, schedule.final, step / num_steps)
        case "cosine_restarts":
            return warmup * cosine(
                1.0, schedule.final, _share_of_cycle(position, schedule.cycle, schedule.cycle_growth)
            )
        case "poly":
            return warmup * (1 - step / num_steps) ** schedule.power
        case "exponential":
            return warmup * schedule.gamma ** math.floor(position)
    raise ValueError(f"there is no schedule '{schedule.name}'")


def cosine(begin: float, end: float, share: float) -> float:
    """Return the value where ``share`` (0 to 1) of the way from ``begin`` to ``end`` lies behind."""
    return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * share))


def _share_of_cycle(position: float, cycle: float, growth: float) -> float:
    """Return how much of its cycle lies before ``position``, 0 to 1; cycles begin at 0 and grow by ``growth``."""
    while position >= cycle:
        position -= cycle
        cycle *= growth
    return position / cycle


def check_optimizer(optimizer: OptimizerConfig) -> None:
    """Raise InputError for options that contradict each other."""
    if optimizer.clip_norm == 0:
        raise InputError("optimizer.clip_norm=0 would stop all learning; null is for no clipping")
    if optimizer.nesterov and (optimizer.momentum == 0 or optimizer.name != "sgd"):
        raise InputError("optimizer.nesterov=true needs optimizer.name=sgd and optimizer.momentum above 0")
