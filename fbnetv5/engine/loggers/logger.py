"""The contract of a logger, and the loggers that there are. Rank 0 alone opens them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import write_text
from fbnetv5.config.identity import identity
from fbnetv5.config.schema import RunConfig

FOLDER = "loggers"  # of a run's folder: what services keep there, and the ids of their runs
LOGGERS = {
    "tensorboard": "fbnetv5.engine.loggers.to_tensorboard.TensorBoard",
    "wandb": "fbnetv5.engine.loggers.to_wandb.WeightsAndBiases",
    "mlflow": "fbnetv5.engine.loggers.to_mlflow.MLflow",
}


class Logger(Protocol):
    """Shows the numbers of a run; built as ``Logger(folder, name, config, start_step)``.

    ``folder`` and ``name`` are the run's, ``config`` are its keys with their values, flat, and what was logged after
    ``start_step`` is replaced: the run goes on from there.
    """

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take in the numbers after ``step`` steps, by name."""

    def close(self, *, failed: bool) -> None:
        """Write what is left; say whether the run failed."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise InputError unless each name is that of a logger whose package is installed; it is not imported."""
    for name in names:
        if name not in LOGGERS:
            raise InputError(f"runtime.loggers: {name} is none of {', '.join(LOGGERS)}{nearest(name, LOGGERS)}")
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # the second: a folder of this name, such as wandb leaves
            raise InputError(
                f"runtime.loggers: {name} is not installed: pip install --editable '.[{name}]', or leave it out"
            )


def open_loggers(config: RunConfig, folder: Path, start_step: int = 0) -> list[Logger]:
    """Open the loggers that ``runtime.loggers`` names, for the run of a folder; see :class:`Logger`.

    Raises:
        InputError: as :func:`check_loggers`, or one cannot start.
    """
    check_loggers(config.runtime.loggers)
    keys, opened = identity(config), list[Logger]()
    for name in config.runtime.loggers:
        module, _, chosen = LOGGERS[name].rpartition(".")
        opened.append(getattr(importlib.import_module(module), chosen)(folder, config.name, keys, start_step))
    return opened


def known_run(folder: Path, service: str) -> str | None:
    """Return the id that a service gave to the run of a folder; None where there is none."""
    file = folder / FOLDER / f"{service}.id"
    return file.read_text(encoding="utf-8").strip() or None if file.is_file() else None


def keep_run(folder: Path, service: str, run: str) -> None:
    """Keep the id of a run in its folder, so that a resumed run goes on there."""
    write_text(folder / FOLDER / f"{service}.id", f"{run}\n")
