"""The tasks of a final model, whether it has one or several: one that it has alone goes without a name."""

from __future__ import annotations

from typing import NamedTuple

from fbnetv5.base.types import Target
from fbnetv5.export.deployed import ALONE
from fbnetv5.heads.head import Head
from fbnetv5.model.folder import FinalModel
from fbnetv5.model.joint_net import JointModel


class ModelTask(NamedTuple):
    """A task of a final model: its head, and the names of its classes."""

    head: Head
    classes: tuple[str, ...]

    @property
    def target(self) -> Target:
        """What is predicted."""
        return self.head.target


def tasks_of(model: FinalModel) -> dict[str, ModelTask]:
    """Return the tasks of a model by name; of a model of one task, that under ``ALONE``."""
    if isinstance(model, JointModel):
        return {task: ModelTask(model.head(task), model.classes[task]) for task in model.spec.tasks}
    return {ALONE: ModelTask(model.head, model.classes)}
