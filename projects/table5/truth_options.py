"""The config of a table of truth: which networks are trained, how, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from fbnetv5.archs.topology import NAMED_BLOCKS
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import option
from fbnetv5.runs.study import TrainEntry, check_seeds, load_study


@dataclass
class TruthConfig:
    """One table of truth."""

    name: str = option(MISSING, "name of the table")
    output: str = option("runs/${name}", "folder of what is not kept for good, from the working directory")
    table: str = option(MISSING, "the csv file that takes a row a training, from the working directory")
    seeds: list[int] = option(lambda: [0, 1, 2], "seeds; every network is trained with each")
    num_topologies: int = option(48, "topologies drawn for each task")
    num_first: int = option(24, "of which so many are trained with all seeds before the others")
    num_stages: int = option(4, "stages of the space that they are drawn from")
    match: float = option(0.5, "MACs of every drawn backbone: a share of the full supernet's")
    tolerance: float = option(0.05, "by how much of it a drawn backbone may differ")
    named: list[str] = option(lambda: sorted(NAMED_BLOCKS), "hand-made topologies that are trained too")
    named_stages: int = option(7, "stages that these have")
    added: list[str] = option(list, "more topologies: cls/0f3a, a task and the number of its blocks")
    overrides: list[str] = option(list, "key=value for every training, such as data.root")
    train: dict[str, TrainEntry] = option(dict, "by task: the training that judges")


def load_truth(file: Path, changes: dict[str, Any], overrides: Sequence[str] = ()) -> TruthConfig:
    """Read the config file of a table of truth.

    Args:
        file: YAML.
        changes: what to set in it, by key; None changes nothing.
        overrides: ``key=value`` for every training, after those of the file.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    config = load_study(file, TruthConfig, changes)
    config.overrides += overrides
    for key in ("num_topologies", "num_stages", "named_stages"):
        if getattr(config, key) < 1:
            raise InputError(f"{key}={getattr(config, key)} is too small: at least 1")
    if not 0 < config.match <= 1 or config.tolerance < 0 or config.num_first < 0:
        raise InputError(
            f"match={config.match}, tolerance={config.tolerance}, num_first={config.num_first}: a share of the "
            "supernet's MACs, and not below 0"
        )
    for name in config.named:
        if name not in NAMED_BLOCKS:
            raise InputError(f"named: there is no topology '{name}'{nearest(name, NAMED_BLOCKS)}")
    for task in (entry.partition("/")[0] for entry in config.added):
        if task not in config.train:
            raise InputError(f"added: there is no task '{task}'{nearest(task, config.train)}")
    check_seeds(config.seeds)
    return config
