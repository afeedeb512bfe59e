"""The part of the schema that says how weights move."""

from __future__ import annotations

from dataclasses import dataclass

from fbnetv5.config.option import option


@dataclass
class ScheduleConfig:
    """How the rate changes over the run."""

    name: str = option(
        "constant",
        "constant, multistep, cosine, cosine_restarts, exponential or poly",
        choices=("constant", "multistep", "cosine", "cosine_restarts", "exponential", "poly"),
    )
    unit: str = option(
        "step", "what milestones, warmup, cycle and exponential decay count: step or epoch", choices=("step", "epoch")
    )
    milestones: list[int] = option(list, "multistep: where the rate is multiplied by gamma")
    gamma: float = option(0.1, "multistep and exponential: the factor", minimum=0)
    power: float = option(0.9, "poly: the power of the share of the run that is left")
    final: float = option(0.0, "cosine and cosine_restarts: the factor that they end at", minimum=0)
    cycle: float = option(10.0, "cosine_restarts: length of the first cycle, in units", minimum=1)
    cycle_growth: float = option(2.0, "cosine_restarts: each cycle is this times as long as the one before", minimum=1)
    warmup: float = option(0.0, "length of the linear warm-up, in units", minimum=0)
    warmup_start: float = option(0.0, "factor at the start of the warm-up")


@dataclass
class OptimizerConfig:
    """The optimiser of the weights."""

    name: str = option("sgd", "sgd or adamw", choices=("sgd", "adamw"))
    lr: float = option(0.1, "base rate", minimum=0)
    backbone_factor: float = option(1.0, "the network's rate is this times that of the heads", minimum=0)
    momentum: float = option(0.9, "sgd: momentum", minimum=0)
    nesterov: bool = option(False, "sgd: Nesterov momentum")
    weight_decay: float = option(2e-5, "weight decay; biases and BN are not decayed", minimum=0)
    clip_norm: float | None = option(None, "clip the norm of the gradient to this", minimum=0)
    schedule: ScheduleConfig = option(ScheduleConfig, "the rate over time")
