"""SGD, and its rate as a pure function of the position in the run."""

from __future__ import annotations

import math

from torch import nn, optim

from fbnetv5.config import OptimizerConfig, ScheduleConfig


def build_sgd(model: nn.Module, config: OptimizerConfig) -> optim.SGD:
    """Build SGD over all parameters; biases and BN's weights (the one-dimensional ones) are not decayed."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def set_lr(optimizer: optim.Optimizer, lr: float) -> None:
    """Set the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def rate_factor(schedule: ScheduleConfig, step: int, num_steps: int, steps_per_epoch: float) -> float:
    """Return what the base rate is multiplied by at a step (0-based).

    ``constant``; ``multistep``: times gamma at every milestone; ``cosine``: from 1 to 0 over the run; ``exponential``:
    times gamma each whole unit. Over the first ``warmup`` units, also times a line from ``warmup_start`` to 1.

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
            return warmup * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        case "exponential":
            return warmup * schedule.gamma ** math.floor(position)
    raise ValueError(f"there is no schedule '{schedule.name}'")
