"""The keys of a search below ``project``, and what must hold for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from fbnetv5.config import RunConfig, option
from fbnetv5.errors import InputError
from projects.fpnas.methods import Budget


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
        lambda: {"_target_": "projects.fpnas.methods.CoordinateDescent"},
        "{_target_: class, its options}: CoordinateDescent or RandomSearch of projects.fpnas.methods, or "
        "projects.fpnas.reinforce.Reinforce; they train for the same number of epochs",
    )
    jobs: int | None = option(None, "networks that are trained at a time; null: one a GPU, or one for every core")

    @property
    def budget(self) -> Budget:
        """T, P, Q and E."""
        return Budget(self.iterations, self.shared_epochs, self.epochs, self.num_candidates)


MINIMA = {"iterations": 1, "shared_epochs": 1, "epochs": 1, "num_candidates": 1, "jobs": 1, "final_lr": 0}


def check_search(config: RunConfig, project: SearchConfig) -> None:
    """Raise InputError for a key of a search that is out of range, or has no effect."""
    for key, minimum in MINIMA.items():
        if (value := getattr(project, key)) is not None and value < minimum:
            raise InputError(f"project.{key}={value} is too small: at least {minimum}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "start FPNAS without torchrun: it trains several networks at a time, project.jobs says how many"
        )
    if not 0 < project.validation_share < 1:
        raise InputError(f"project.validation_share={project.validation_share} is not between 0 and 1")
    if config.search.batch_size < 2:
        raise InputError(f"search.batch_size={config.search.batch_size}: batch normalisation needs at least 2 images")
    if config.optimizer.backbone_factor != 1 or config.optimizer.schedule.name != "constant":
        raise InputError(
            "optimizer.backbone_factor and optimizer.schedule have no effect on an FPNAS search; remove them"
        )
