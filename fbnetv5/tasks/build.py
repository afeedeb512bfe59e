"""From the ``tasks`` node of a config to tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from hydra.utils import get_class
from torch import nn

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.errors import InputError, nearest
from fbnetv5.tasks.task import Task


def build_tasks(entries: Mapping[str, Any]) -> dict[str, Task]:
    """Build the tasks of a config: each entry names a class with ``_target_`` and sets its options.

    Raises:
        InputError: there is none, a class cannot be imported, or an option is unknown or mistyped.
    """
    if not entries:
        raise InputError("tasks is empty: name at least one task, such as tasks.cls._target_=...")
    return {name: _build_task(name, entry) for name, entry in entries.items()}


def _build_task(name: str, entry: Any) -> Task:
    if not isinstance(entry, Mapping) or "_target_" not in entry:
        raise InputError(f"tasks.{name} has no _target_, the class of the task")
    if hasattr(nn.ModuleDict, name) or not name.isidentifier():
        raise InputError(f"tasks.{name}: a task cannot be called '{name}'; choose another name")
    path = entry["_target_"]
    try:
        task_class = get_class(path)
    except Exception as error:  # hydra wraps whatever importing the module raised
        raise InputError(f"tasks.{name}._target_={path} cannot be imported: {' '.join(str(error).split())}") from error
    known = {field.name: field for field in fields(task_class)} if is_dataclass(task_class) else {}
    options = {}
    for key, value in entry.items():
        if key == "_target_":
            continue
        if key not in known:
            raise InputError(f"tasks.{name}.{key} is no option of {path}{nearest(key, known)}")
        options[key] = _checked(f"tasks.{name}.{key}", value, known[key])
    try:
        task: Task = task_class(**options)
    except TypeError as error:
        raise InputError(f"tasks.{name}: {error}") from error
    if task.path not in range(NUM_PATHS):
        raise InputError(f"tasks.{name}.path={task.path} is no path: 0 to {NUM_PATHS - 1}")
    return task


def _checked(key: str, value: Any, field: Field[Any]) -> Any:
    """Return a value of the type that the option's default has; options without one, or with None, take anything."""
    default = field.default
    if default is MISSING or default is None:
        return value
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    expected = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, expected) or isinstance(value, bool) != isinstance(default, bool):
        raise InputError(f"{key}={value} should be of type {type(default).__name__}")
    return value
