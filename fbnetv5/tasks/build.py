"""From the ``tasks`` node of a config to tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.joint import SHARED, TRUNK
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Source
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.data.index_checks import require_several
from fbnetv5.tasks.task import Task


def build_tasks(entries: Mapping[str, Any]) -> dict[str, Task]:
    """Build the tasks of a config; an entry that is null is left out, for configs that build on others.

    Raises:
        InputError: there is none, a class cannot be imported, or an option is unknown or mistyped.
    """
    tasks = {name: _build_task(name, entry) for name, entry in entries.items() if entry is not None}
    if not tasks:
        raise InputError("tasks is empty: name at least one task, such as tasks.cls._target_=...")
    return tasks


def check_task_name(key: str, name: str) -> None:
    """Raise InputError, which names the ``key`` of the config, for what is no name of a task."""
    if hasattr(nn.ModuleDict(), name) or not name.isidentifier() or name in (TRUNK, SHARED):
        raise InputError(f"{key}: a task cannot be called '{name}'; choose another name")


def _build_task(name: str, entry: Any) -> Task:
    check_task_name(f"tasks.{name}", name)
    task: Task = build_target(f"tasks.{name}", entry)
    require_members(f"tasks.{name}", entry, task, ("path", "target", "search_head"), "task")
    if task.path not in range(NUM_PATHS):
        raise InputError(f"tasks.{name}.path={task.path} is no path: 0 to {NUM_PATHS - 1}")
    return task


def check_labels(tasks: Mapping[str, Task], source: Source) -> None:
    """Raise InputError for a task that no image of the training split is labelled for, or all with one class."""
    for name, task in tasks.items():
        if source.num_labelled(task.target.name) == 0:
            raise InputError(
                f"task '{name}' needs '{task.target.name}', and no image of the training split is labelled with it; "
                f"give its labels under data.train or remove tasks.{name}"
            )
        require_several(task.target, source.classes.get(task.target.name, ()))
