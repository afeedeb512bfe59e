"""Weights & Biases: a run of the project ``WANDB_PROJECT``, or fbnetv5; its own variables say where and how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.engine.loggers.logger import FOLDER, keep_run, known_run

SERVICE = "wandb"
STEP = "step"  # the axis of all numbers: wandb's own never goes back, as a run does that goes on from a checkpoint


class WeightsAndBiases:
    """A :class:`~fbnetv5.engine.loggers.logger.Logger` of Weights & Biases.

    Raises:
        InputError: the service refuses the run.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], start_step: int) -> None:
        import wandb

        place = folder / FOLDER
        place.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "fbnetv5"),
                name=name,
                id=known_run(folder, SERVICE),
                resume="allow",
                dir=str(place),
                config=dict(config),
            )
            self._run.define_metric("*", step_metric=STEP)
        except Exception as error:  # it has errors of many kinds
            reason = " ".join(str(error).split())
            raise InputError(
                f"runtime.loggers: wandb cannot start: {reason}; `wandb login`, WANDB_MODE=offline, or leave it out"
            ) from error
        keep_run(folder, SERVICE, self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers after ``step`` steps."""
        self._run.log({**values, STEP: step})

    def close(self, *, failed: bool) -> None:
        """Send what is left, and end the run."""
        self._run.finish(exit_code=int(failed))
