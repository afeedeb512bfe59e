"""The config of an ablation: which search it judges, by which table of truth, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import option
from fbnetv5.runs.study import RunEntry, check_seeds, load_study

METHODS = ("multitask", "single-task")


@dataclass
class AblationConfig:
    """One ablation."""

    name: str = option(MISSING, "name of the ablation")
    output: str = option("runs/${name}", "its folder, from the working directory")
    truth: RunEntry = option(
        RunEntry, "the table of truth: a config of projects.table5.truth, and what is changed in it"
    )
    seeds: list[int] = option(lambda: [0, 1, 2, 3, 4], "seeds of the searches")
    repeats: int | None = option(
        None, "trainings that judge a topology, by the first seeds of the table; null: all of them", minimum=1
    )
    num_topologies: int = option(4, "topologies derived at equal MACs, for each search and task")
    num_shortlisted: int = option(
        48,
        "best topologies by the last look's regression that the supernet scores, to derive those; a third under a name",
    )
    methods: list[str] = option(lambda: ["multitask"], "searches to judge: multitask, single-task")
    overrides: list[str] = option(list, "key=value for every search and training, such as data.root")
    search: RunEntry = option(RunEntry, "the multitask search; its tasks are those of the table")
    single_task: list[str] = option(
        lambda: ["search.algorithm._target_=fbnetv5.search.differentiable.SingleTask"],
        "what each task's own search changes in it, beside removing the other tasks",
    )


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
    for key in ("num_topologies", "num_shortlisted"):
        if getattr(config, key) < 1:
            raise InputError(f"{key}={getattr(config, key)} is too small: at least 1")
    if METHODS[0] not in config.methods:
        raise InputError(f"methods={list(config.methods)}: {METHODS[0]} is what others are compared with; add it")
    for method in config.methods:
        if method not in METHODS:
            raise InputError(f"methods: there is no '{method}'{nearest(method, METHODS)}")
    check_seeds(config.seeds)
    return config
