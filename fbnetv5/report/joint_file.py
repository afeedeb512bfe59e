"""The topologies of one network for all tasks, as a search leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    try:
        info = document["info"]
        topologies = {
            str(task): replace(Topology.load(file, str(task)), outputs=(int(path),))
            for task, path in info["head_paths"].items()
        }
        return FoundJoint(topologies, int(info["macs"]), int(info["separate_macs"]))
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return None
