"""The config of a comparison: which trainings, what is measured of each, and with which seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import option
from fbnetv5.runs.study import RunEntry, check_seeds, chosen, load_study


@dataclass
class TrainingEntry(RunEntry):
    """A training, what is measured of it, and what it is compared with."""

    metrics: dict[str, str] = option(
        dict, "by column of the table: the metric in metrics.json, top1 or det/AP50; higher is better"
    )
    against: dict[str, str] = option(dict, "by column: the training of this comparison that it is compared with there")


@dataclass
class ComparisonConfig:
    """Trainings that are compared."""

    name: str = option(MISSING, "name of the comparison")
    output: str = option("runs/${name}", "its folder, from the working directory")
    table: str = option(MISSING, "the csv file that takes a row a metric, from the working directory")
    seeds: list[int] = option(lambda: [0, 1, 2], "seeds; every training is made with each")
    overrides: list[str] = option(list, "key=value for every training, before its own, such as data.root")
    trainings: dict[str, TrainingEntry] = option(dict, "by name")
    only: list[str] = option(list, "names of those that are made; none: all. The table shows all that there are")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The trainings that are made, by name."""
        return tuple(self.only or self.trainings)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table: all names of metrics."""
        return tuple(dict.fromkeys(name for entry in self.trainings.values() for name in entry.metrics))


def load_comparison(
    file: Path, changes: dict[str, Any], overrides: Sequence[str] = (), only: Sequence[str] | None = None
) -> ComparisonConfig:
    """Read the config file of a comparison.

    Args:
        file: YAML.
        changes: what to set in it, by key; None changes nothing.
        overrides: ``key=value`` for every training, after those of the file.
        only: names of the trainings to make; all if None.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    config = load_study(file, ComparisonConfig, changes)
    for entry in config.trainings.values():
        entry.overrides += overrides
    check_seeds(config.seeds)
    for name, entry in config.trainings.items():
        if not entry.metrics:
            raise InputError(f"trainings.{name}.metrics are missing: which number is compared, such as {{cls: top1}}")
        for column, other in entry.against.items():
            if column not in entry.metrics or column not in config.trainings.get(other, TrainingEntry()).metrics:
                known = nearest(other, config.trainings)
                raise InputError(f"trainings.{name}.against: '{other}' and it do not both have '{column}'{known}")
    config.only = list(chosen(config.trainings, only or config.only or None, "trainings"))
    return config
