"""The keys of a search below ``project``, and what must hold for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from fbnetv5.base.errors import InputError
from fbnetv5.config.option import option
from fbnetv5.config.schema import RunConfig
from fbnetv5.projects.fpnas.methods import Budget


@dataclass
class SearchConfig:
    """A search of FPNAS; by default as in Sections 3.3 and 4.1."""

    bound: float = option(MISSING, "b of eq. 2: the network that is found has fewer MACs, its classifier's included")
    macro: str = option("cifar10", "channels and strides: cifar10, imagenet, small, or the file of an architecture")
    multiplier: float = option(1.0, "all channels are times this, rounded to multiples of 8")
    iterations: int = option(16, "T: blocks that are optimised, one after the other")
    shared_epochs: int = option(4, "P: epochs of stage one, in which all types of a block share weights")
    epochs: int = option(4, "Q: epochs of each candidate in stage two")
    num_candidates: int = option(10, "E: candidates of stage two")
    validation_share: float = option(0.1, "share of the training images that networks are judged by")
    final_lr: float = option(1e-5, "the rate of stage two falls from optimizer.lr to this")
    method: dict[str, Any] = option(
        lambda: {"_target_": "fbnetv5.projects.fpnas.methods.CoordinateDescent"},
        "{_target_: class, its options}: CoordinateDescent or RandomSearch of fbnetv5.projects.fpnas.methods, or "
        "fbnetv5.projects.fpnas.reinforce.Reinforce; they train for the same number of epochs",
    )
    jobs: int | None = option(None, "networks that are trained at a time; null: one a GPU, or one for every core")

    @property
    def budget(self) -> Budget:
        """T, P, Q and E."""
        return Budget(self.iterations, self.shared_epochs, self.epochs, self.num_candidates)


AT_LEAST_1 = ("iterations", "shared_epochs", "epochs", "num_candidates", "jobs")


def check_search(config: RunConfig, project: SearchConfig) -> None:
    """Raise InputError for a key of a search that is out of range, or has no effect."""
    for key in AT_LEAST_1:
        if (value := getattr(project, key)) is not None and value < 1:
            raise InputError(f"project.{key}={value} is too small: at least 1")
    if not 0 < project.validation_share < 1:
        raise InputError(f"project.validation_share={project.validation_share} is not between 0 and 1")
    check_training(config, "final_lr", project.final_lr)


def check_training(config: RunConfig, key: str, final_lr: float) -> None:
    """Raise InputError for a key of the core that ``fit`` cannot use, or for a rate that does not fall.

    Args:
        config: of the run.
        key: of ``project``, that ``final_lr`` was given by.
        final_lr: what the rate falls to.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("start FPNAS in one process: it trains several networks at a time, project.jobs says how many")
    if config.search.batch_size < 2:
        raise InputError(f"search.batch_size={config.search.batch_size}: batch normalisation needs at least 2 images")
    optimizer = config.optimizer
    unused = {
        "optimizer.backbone_factor": optimizer.backbone_factor != 1,
        "optimizer.clip_norm": optimizer.clip_norm is not None,
        "optimizer.schedule": optimizer.schedule.name != "constant",
        "optimizer.schedule.warmup": optimizer.schedule.warmup != 0,
        "train.ema": config.train.ema is not None,
        "model.weights": config.model.weights is not None,
        "search.steps": config.search.steps is not None,
        "search.epochs": config.search.epochs is not None,
    }
    if given := [name for name, is_given in unused.items() if is_given]:
        raise InputError(f"remove what has no effect on FPNAS: {', '.join(given)}")
    if not 0 <= final_lr <= optimizer.lr:
        raise InputError(f"project.{key}={final_lr} is not between 0 and optimizer.lr={optimizer.lr}")
