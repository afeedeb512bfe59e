"""TensorBoard: files in ``tensorboard/`` of the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from fbnetv5.base.files import reported

FOLDER = "tensorboard"


class TensorBoard:
    """A :class:`~fbnetv5.engine.loggers.logger.Logger` that writes TensorBoard's files."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], start_step: int) -> None:
        self.folder = folder / FOLDER
        with reported(self.folder):
            self._writer = SummaryWriter(str(self.folder), purge_step=start_step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers after ``step`` steps. Raises InputError where that fails."""
        with reported(self.folder):
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:
        """Flush the files. Raises InputError where that fails."""
        with reported(self.folder):
            self._writer.close()
