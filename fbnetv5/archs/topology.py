"""Topologies: which blocks a network has, how they are connected, and the file they are kept in.

A block is ``(stage, path)`` with stages 1..S and paths 0..3. Stage 0 is the trunk, whose partitions always exist; the
outputs, one a path, are written as stage S + 1. A selected block reads what its own path carries and, fused into it,
every block of the stage before it on the other paths. A path carries the output of its latest selected block.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import yaml

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.base.documents import check_keys, read_document
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import write_text
from fbnetv5.base.limits import MAX_STAGES

Block = tuple[int, int]
ALL_PATHS = tuple(range(NUM_PATHS))


class Edge(NamedTuple):
    """``target`` reads the feature of ``source``; both are (stage, path)."""

    source: Block
    target: Block


@dataclass(frozen=True)
class Topology:
    """The blocks of a network and the paths whose features it returns.

    Attributes:
        num_stages: S, the stages after the trunk; 0 to ``MAX_STAGES``.
        blocks: the selected (stage, path), with stage in 1..S and path in 0..3.
        outputs: the paths whose features are computed, in ascending order.

    Raises:
        ValueError: a block or an output lies outside the stages and paths there are.
    """

    num_stages: int
    blocks: frozenset[Block]
    outputs: tuple[int, ...] = ALL_PATHS

    def __post_init__(self) -> None:
        if self.num_stages < 0:
            raise ValueError(f"num_stages is {self.num_stages}; it cannot be negative")
        if self.num_stages > MAX_STAGES:
            raise ValueError(f"num_stages is {self.num_stages}; there may be at most {MAX_STAGES}")
        for stage, path in sorted(self.blocks):
            if path not in ALL_PATHS:
                raise ValueError(f"path {path} is out of range; paths are 0 to {NUM_PATHS - 1}")
            if not 1 <= stage <= self.num_stages:
                raise ValueError(f"path {path}: stage {stage} is out of range; stages are 1 to {self.num_stages}")
        if not self.outputs or list(self.outputs) != sorted(set(self.outputs) & set(ALL_PATHS)):
            raise ValueError(f"outputs {list(self.outputs)} are not ascending paths of 0 to {NUM_PATHS - 1}")

    @classmethod
    def full(cls, num_stages: int) -> Topology:
        """Return the topology of a supernet: every block, every output."""
        return cls(num_stages, frozenset((stage, path) for stage in range(1, num_stages + 1) for path in ALL_PATHS))

    def active(self, stage: int, path: int) -> bool:
        """Whether the block exists. The trunk, stage 0, always does."""
        return stage == 0 or (stage, path) in self.blocks

    def fused_paths(self, stage: int, path: int) -> tuple[int, ...]:
        """Return the other paths that are fused into block (or output) ``(stage, path)``, in ascending order."""
        return tuple(other for other in ALL_PATHS if other != path and self.active(stage - 1, other))

    def edges(self) -> list[Edge]:
        """List every edge between the trunk (stage 0), the blocks and the outputs (stage S + 1), by target.

        A feature that a path carries is listed as an edge from the block or trunk partition that computed it. The
        trunk's own edges, from each partition to the next, are left out.
        """
        targets = [*sorted(self.blocks), *((self.num_stages + 1, path) for path in self.outputs)]
        edges = []
        for stage, path in targets:
            carried = max(earlier for earlier in range(stage) if self.active(earlier, path))
            edges.append(Edge((carried, path), (stage, path)))
            edges += [Edge((stage - 1, other), (stage, path)) for other in self.fused_paths(stage, path)]
        return edges

    def prune(self, paths: Sequence[int]) -> Topology:
        """Return the topology with outputs ``paths`` and only the blocks that reach them; their features stay equal."""
        outputs = tuple(sorted(set(paths)))
        sources: dict[Block, list[Block]] = {}
        for edge in Topology(self.num_stages, self.blocks, outputs).edges():
            sources.setdefault(edge.target, []).append(edge.source)
        kept: set[Block] = set()
        waiting: list[Block] = [(self.num_stages + 1, path) for path in outputs]
        while waiting:
            reached = [source for source in sources.get(waiting.pop(), []) if source not in kept]
            kept.update(reached)
            waiting += reached
        return Topology(self.num_stages, self.blocks & kept, outputs)

    @cached_property
    def num_partitions(self) -> int:
        """Number of trunk partitions (1..4) that the blocks and outputs need, counted from the first."""
        return 1 + max(path for (stage, path), _ in self.edges() if stage == 0)

    def save(self, path: str | os.PathLike[str], info: Mapping[str, Any] | None = None) -> None:
        """Write the topology as YAML, atomically, with free-form ``info`` (plain data) for the people who read it.

        Raises:
            InputError: the file cannot be written.
        """
        _write(path, self._document(), info)

    @classmethod
    def load(cls, path: str | os.PathLike[str], task: str | None = None) -> Topology:
        """Read a topology that ``save`` or a person wrote; ``info`` is ignored, ``outputs`` may be missing.

        Args:
            path: the file.
            task: whose topology it is, where :func:`save_joint` wrote the file; others are the same for any task.

        Raises:
            InputError: the file cannot be read or does not describe a topology; the message says what is wrong where.
        """
        return read_document(path, "topology", lambda document: _parse(_of_task(document, task)))

    def _document(self) -> dict[str, Any]:
        return {
            "num_stages": self.num_stages,
            "paths": {path: sorted(stage for stage, other in self.blocks if other == path) for path in ALL_PATHS},
            "outputs": list(self.outputs),
        }


def save_joint(
    path: str | os.PathLike[str], topologies: Mapping[str, Topology], info: Mapping[str, Any] | None = None
) -> None:
    """Write the topologies of several tasks into one YAML file, atomically, by task; ``info`` as :meth:`Topology.save`.

    Raises:
        InputError: the file cannot be written.
    """
    _write(path, {"tasks": {task: topology._document() for task, topology in topologies.items()}}, info)


def _write(path: str | os.PathLike[str], document: Mapping[str, Any], info: Mapping[str, Any] | None) -> None:
    whole = {**document, "info": dict(info)} if info else dict(document)
    header = "# Selected stages of each path (0 has the highest resolution), and the paths a network returns.\n"
    write_text(path, header + yaml.safe_dump(whole, sort_keys=False, default_flow_style=None))


def _of_task(document: object, task: str | None) -> object:
    """Return a task's part of a file that has several, else the whole. Raises ValueError where there is none."""
    if not isinstance(document, dict) or "tasks" not in document:
        return document
    tasks = check_keys(document, ("tasks",), ("info",))["tasks"]
    if not isinstance(tasks, dict):
        raise ValueError(f"tasks: expected a mapping from tasks to topologies, got {tasks!r}")
    known = ", ".join(map(str, tasks))
    if task is None:
        raise ValueError(f"it has the topologies of several tasks ({known}); model.tasks takes it, model.topology not")
    if task not in tasks:
        raise ValueError(f"it has no topology of '{task}', but of {known}")
    return tasks[task]


def _parse(document: object) -> Topology:
    """Check a file's content, key by key. Raises ValueError."""
    entries = check_keys(document, ("num_stages", "paths"), ("outputs", "info"))
    num_stages, paths = entries["num_stages"], entries["paths"]
    if not _is_int(num_stages):
        raise ValueError(f"num_stages: expected an integer, got {num_stages!r}")
    if not isinstance(paths, dict) or not all(_is_int(path) for path in paths):
        raise ValueError(f"paths: expected a mapping from paths (integers) to stages, got {paths!r}")
    for path in paths:
        if path not in ALL_PATHS:
            raise ValueError(f"path {path} is out of range; paths are 0 to {NUM_PATHS - 1}")
    blocks = frozenset(
        (stage, path) for path, stages in paths.items() for stage in _distinct_ints(stages, f"paths, {path}")
    )
    return Topology(num_stages, blocks, _distinct_ints(entries.get("outputs", list(ALL_PATHS)), "outputs"))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _distinct_ints(value: object, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(_is_int(item) for item in value):
        raise ValueError(f"{where}: expected a list of integers, got {value!r}")
    if len(set(value)) != len(value):
        raise ValueError(f"{where}: {value} names something twice")
    return tuple(value)


_FPN = ((1, 3), (2, 2), (3, 1), (4, 0))
NAMED_BLOCKS: dict[str, tuple[Block, ...]] = {
    "linear": (),
    "unet": _FPN,
    "fpn": _FPN,
    "panet": (*_FPN, (5, 1), (6, 2), (7, 3)),
    "bifpn": ((1, 2), (2, 1), (3, 0), (4, 1), (5, 2), (6, 3)),
}


def named_topology(name: str, num_stages: int) -> Topology:
    """Return a hand-made topology of FBNetV5's Fig. 5: linear, unet, fpn (the same blocks), panet or bifpn.

    Raises:
        InputError: there is no topology of that name, or ``num_stages`` are too few for it; ``linear`` takes one, as
            with none the trunk's partitions would be fused into the outputs.
    """
    if name not in NAMED_BLOCKS:
        known = ", ".join(NAMED_BLOCKS)
        raise InputError(f"unknown topology '{name}'{nearest(name, NAMED_BLOCKS)} (known: {known})")
    blocks = NAMED_BLOCKS[name]
    needed = max((stage for stage, _ in blocks), default=1)
    if num_stages < needed:
        raise InputError(f"topology '{name}' needs {needed} stages, got num_stages={num_stages}")
    return Topology(num_stages, frozenset(blocks))


@dataclass(frozen=True)
class TopologySpace:
    """Every topology of a supernet, as choices: one slot a block, stage by stage, option 0 to skip and 1 to select.

    Attributes:
        num_stages: S.
        block_costs: of each slot's block, in any one unit; S x 4 numbers, slot ``(stage - 1) * 4 + path``.

    Raises:
        ValueError: ``block_costs`` does not hold one number a slot.
    """

    num_stages: int
    block_costs: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.block_costs) != len(self._slots):
            raise ValueError(f"{len(self._slots)} slots need as many block_costs, got {len(self.block_costs)}")

    @cached_property
    def _slots(self) -> tuple[Block, ...]:
        return tuple((stage, path) for stage in range(1, self.num_stages + 1) for path in ALL_PATHS)

    @property
    def num_options(self) -> tuple[int, ...]:
        """Options of each slot: two."""
        return (2,) * len(self._slots)

    @property
    def option_costs(self) -> tuple[tuple[float, ...], ...]:
        """Cost of each option of each slot; a skipped block costs nothing."""
        return tuple((0.0, float(cost)) for cost in self.block_costs)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """A name for each slot, such as ``stage 1 / path 3``."""
        return tuple(f"stage {stage} / path {path}" for stage, path in self._slots)

    def decode(self, choices: Sequence[int]) -> Topology:
        """Return the topology of one choice a slot. Raises ValueError unless all are there, and each is 0 or 1."""
        if len(choices) != len(self._slots) or any(choice not in (0, 1) for choice in choices):
            raise ValueError(f"expected {len(self._slots)} choices of 0 or 1, got {list(choices)}")
        blocks = (slot for slot, choice in zip(self._slots, choices, strict=True) if choice)
        return Topology(self.num_stages, frozenset(blocks))

    def encode(self, topology: Topology) -> tuple[int, ...]:
        """Return the choices that decode to ``topology``'s blocks. Raises ValueError for another number of stages."""
        if topology.num_stages != self.num_stages:
            raise ValueError(f"the space has {self.num_stages} stages, the topology {topology.num_stages}")
        return tuple(int(slot in topology.blocks) for slot in self._slots)
