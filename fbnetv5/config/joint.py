"""The entries of ``model.tasks``: what a joint network has of each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.config.option import option
from fbnetv5.config.read import read_entry
from fbnetv5.config.schema import ModelConfig


@dataclass
class TaskEntry:
    """One task of a joint network."""

    topology: str | None = option(None, "a topology file, joint.yaml of a search, or linear, unet, fpn, panet or bifpn")
    head: dict[str, Any] = option(dict, "{_target_: class, its options}, the task's head")
    weight: float = option(1.0, "what the task's loss is multiplied by", minimum=0)
    weights: str | None = option(
        None, "a trained model of the task, or its weights, to start the task's branch and head from"
    )


def task_entries(model: ModelConfig) -> dict[str, TaskEntry]:
    """Return the entries of ``model.tasks``; one that is null is left out, for configs that build on others.

    Raises:
        InputError: a key is unknown or missing, a value is of another type, or a key beside ``model.tasks`` is for a
            model of one task.
    """
    if model.topology is not None or model.head or model.network:
        key = next(key for key in ("topology", "head", "network") if getattr(model, key))
        raise InputError(
            f"model.{key} is for a network of one task, and model.tasks is for several; leave out one of the two, as "
            f"with model.{key}=null"
        )
    entries = {}
    for name, node in model.tasks.items():
        if node is None:
            continue
        if not isinstance(node, Mapping):
            raise InputError(f"model.tasks.{name}={node} should be a mapping with the keys topology and head")
        entry = read_entry(f"model.tasks.{name}", node, TaskEntry)
        for key in ("topology", "head"):
            if not getattr(entry, key):
                raise InputError(f"model.tasks.{name}.{key} is missing")
        entries[name] = entry
    if not entries:
        raise InputError("model.tasks is empty: name at least one task, with its topology and its head")
    return entries
