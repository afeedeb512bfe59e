"""The family that a search found for a task: topologies from the cheapest to the best, and others beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError

FOLDER = "family_"  # and the task
FAMILY = "family.json"
DERIVED = "derived"  # the topology that the search derived


@dataclass(frozen=True)
class Member:
    """A topology on or beside a task's curve.

    Attributes:
        name: hand-made, ``full`` or :data:`DERIVED`; else the name of its file.
        topology: with the outputs that the search head reads.
        macs, params: of the blocks that reach the search head's path and the trunk.
        latency_ms: of the same, where the search measured latency.
        score: of the task on held-out images with the supernet's weights, lower is better.
        gain: how much better that is than the trunk alone, in deviations of the score over all topologies.
        file: its file, below the folder of the run; None for those that are named.
    """

    name: str
    topology: Topology
    macs: int
    params: int
    latency_ms: float | None
    score: float
    gain: float
    file: str | None = None

    @property
    def seen(self) -> Topology:
        """The blocks that reach the path of the search head."""
        return self.topology.prune(self.topology.outputs)


@dataclass(frozen=True)
class TaskFamily:
    """The curve of a task.

    Attributes:
        task: its name.
        unit: what the budgets were counted in: macs, params or latency.
        members: from the cheapest to the best.
        others: hand-made ones, the whole supernet, and the topology that the search derived.
        latency_on: device, runtime, threads, precision and images of the latencies, where there are any.
    """

    task: str
    unit: str
    members: Sequence[Member]
    others: Sequence[Member]
    latency_on: str | None = None

    @property
    def is_timed(self) -> bool:
        """Whether all of its topologies have a latency."""
        return all(member.latency_ms is not None for member in (*self.members, *self.others))

    @property
    def summary(self) -> str:
        """How many topologies there are, from which cost to which: in milliseconds, trunk and blocks, or in MACs."""
        ends = (self.members[0], self.members[-1])
        costs = [f"{one.macs / 1e6:.1f} M" if one.latency_ms is None else f"{one.latency_ms:.2f} ms" for one in ends]
        unit = " without heads" if self.is_timed else " MACs"
        return f"{len(self.members)} topologies of {' to '.join(costs)}{unit}"


def to_document(family: TaskFamily) -> dict[str, Any]:
    """Return a family as plain data."""
    return {
        "task": family.task,
        "unit": family.unit,
        "latency_on": family.latency_on,
        "members": [_to_plain(member) for member in family.members],
        "others": [_to_plain(member) for member in family.others],
    }


def read_families(run: Path) -> dict[str, TaskFamily]:
    """Return the families in the folder of a run, by task; what is damaged is left out."""
    found = {}
    for file in sorted(run.glob(f"{FOLDER}*/{FAMILY}")):
        document = read_json(file)
        try:
            members, others = ([_from_plain(entry) for entry in document[key]] for key in ("members", "others"))
            measured_on = document.get("latency_on")
            latency_on = None if measured_on is None else str(measured_on)
            family = TaskFamily(str(document["task"]), str(document["unit"]), members, others, latency_on)
        except (KeyError, TypeError, ValueError, InputError):
            continue
        if members:
            found[family.task] = family
    return found


def _to_plain(member: Member) -> dict[str, Any]:
    topology = member.topology
    plain = {key: value for key, value in vars(member).items() if key != "topology"}
    blocks = [list(block) for block in sorted(topology.blocks)]
    return {**plain, "num_stages": topology.num_stages, "blocks": blocks, "outputs": list(topology.outputs)}


def _from_plain(entry: Mapping[str, Any]) -> Member:
    blocks = frozenset((int(stage), int(path)) for stage, path in entry["blocks"])
    latency_ms, file = entry["latency_ms"], entry["file"]
    return Member(
        name=str(entry["name"]),
        topology=Topology(int(entry["num_stages"]), blocks, tuple(map(int, entry["outputs"]))),
        macs=int(entry["macs"]),
        params=int(entry["params"]),
        latency_ms=None if latency_ms is None else float(latency_ms),
        score=float(entry["score"]),
        gain=float(entry["gain"]),
        file=None if file is None else str(file),
    )
