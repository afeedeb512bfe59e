"""The config of an ablation: which search and trainings it compares, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from fbnetv5.base.errors import InputError
from fbnetv5.config.option import option
from fbnetv5.runs.study import RunEntry, TrainEntry, check_seeds, load_study


@dataclass
class PredictConfig:
    """How the multitask supernet scores a topology."""

    num_images: int = option(256, "validation images that the loss is the mean over")
    num_calibration_images: int = option(256, "training images that BN's statistics are recalibrated on")
    batch_size: int = option(64, "images at a time")


@dataclass
class AblationConfig:
    """One ablation."""

    name: str = option(MISSING, "name of the ablation")
    output: str = option("runs/${name}", "its folder, from the working directory")
    seeds: list[int] = option(lambda: [0, 1, 2], "seeds; each searches, samples and trains anew")
    num_topologies: int = option(4, "topologies sampled and trained, per seed, method and task")
    match: float = option(
        0.5, "MACs of every sampled backbone: a share of the full supernet's if at most 1, else absolute"
    )
    tolerance: float = option(0.05, "by how much of it a sampled backbone may differ")
    overrides: list[str] = option(list, "key=value for every search and training, such as data.root")
    search: RunEntry = option(RunEntry, "the multitask search; its tasks are those compared")
    single_task: list[str] = option(
        lambda: ["search.algorithm._target_=fbnetv5.search.differentiable.SingleTask"],
        "what each task's own search changes in it, beside removing the other tasks",
    )
    train: dict[str, TrainEntry] = option(dict, "by task: the training that judges")
    predict: PredictConfig = option(PredictConfig, "how the supernet predicts a topology's score")


def load_ablation(file: Path, changes: dict[str, Any], overrides: Sequence[str] = ()) -> AblationConfig:
    """Read an ablation's config file.

    Args:
        file: YAML.
        changes: what to set in it, by key; None changes nothing.
        overrides: ``key=value`` for every search and training, after those of the file.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    config = load_study(file, AblationConfig, changes)
    config.overrides += overrides
    _check(config)
    return config


def _check(config: AblationConfig) -> None:
    for key, value, minimum in (
        ("num_topologies", config.num_topologies, 1),
        ("predict.num_images", config.predict.num_images, 1),
        ("predict.num_calibration_images", config.predict.num_calibration_images, 1),
        ("predict.batch_size", config.predict.batch_size, 1),
    ):
        if value < minimum:
            raise InputError(f"{key}={value} is too small: at least {minimum}")
    if config.match <= 0 or config.tolerance < 0:
        raise InputError(f"match={config.match} and tolerance={config.tolerance}: above 0, and not below 0")
    check_seeds(config.seeds)
