"""The topologies of one network for all tasks, as a search leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError

JOINT = "joint.yaml"


@dataclass(frozen=True)
class FoundJoint:
    """What joint.yaml holds.

    Attributes:
        topologies: by task.
        macs: multiply-adds of the trunk once and all branches, without heads, as the search heads see them.
        separate_macs: of each task's network alone, trunk included, summed.
    """

    topologies: Mapping[str, Topology]
    macs: int
    separate_macs: int


def read_joint(file: Path, document: Mapping[str, Any]) -> FoundJoint | None:
    """Return what a file holds that was read as ``document``; None where it is missing or damaged."""
    tasks, info = document.get("tasks"), document.get("info")
    try:
        macs, separate = int(info["macs"]), int(info["separate_macs"])  # type: ignore[index]
        topologies = {str(task): Topology.load(file, str(task)) for task in tasks}  # type: ignore[union-attr]
        heads = {str(task): (int(path),) for task, path in info["head_paths"].items()}  # type: ignore[index]
        drawn = {task: Topology(one.num_stages, one.blocks, heads[task]) for task, one in topologies.items()}
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return FoundJoint(drawn, macs, separate)
