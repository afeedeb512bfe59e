"""What a joint network computes, value by value: nothing twice that several tasks read.

Values are numbered: first the features of the trunk's partitions, then what each step of the plan gives. Two steps that
do the same with the same values are one step, whichever tasks they are for, so a plan is as short as it can be, and
what it computes equals what each task's network would compute alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from fbnetv5.archs.family import NUM_PATHS
from fbnetv5.archs.topology import Block, Topology

Share = Literal["trunk", "blocks"]
"""What tasks have in common: the trunk alone, or the weights of blocks of the same place as well."""


SHARES: tuple[Share, ...] = get_args(Share)


class Fusion(NamedTuple):
    """A step: the value that ``path`` carries plus, resampled, those of other paths, as (path, value)."""

    path: int
    carried: int
    sources: tuple[tuple[int, int], ...]


class BlockCall(NamedTuple):
    """A step: the block of a module name, which lies on ``path``, applied to a value."""

    module: str
    path: int
    input: int


Step = Fusion | BlockCall


@dataclass(frozen=True)
class Plan:
    """The steps of a joint network.

    Attributes:
        num_partitions: of the trunk that are computed; their features are values 0 and up.
        steps: in an order in which each finds its values; theirs are numbered on.
        outputs: the value of each path that a task's head reads, by task.
    """

    num_partitions: int
    steps: tuple[Step, ...]
    outputs: Mapping[str, Mapping[int, int]]

    def users(self) -> list[frozenset[str]]:
        """Return, for every step, the tasks that it is computed for."""
        users: list[frozenset[str]] = [frozenset()] * (self.num_partitions + len(self.steps))
        for task, values in self.outputs.items():
            for value in values.values():
                users[value] |= {task}
        for number in reversed(range(self.num_partitions, len(users))):
            for value in _inputs(self.steps[number - self.num_partitions]):
                users[value] |= users[number]
        return users[self.num_partitions :]

    def calls(self) -> Iterator[tuple[BlockCall, frozenset[str]]]:
        """Yield every application of a block, with the tasks that it is computed for."""
        for step, users in zip(self.steps, self.users(), strict=True):
            if isinstance(step, BlockCall):
                yield step, users


def make_plan(topologies: Mapping[str, Topology], share: Share) -> Plan:
    """Return the plan of a joint network.

    Args:
        topologies: of the tasks, by name; all their blocks are computed.
        share: whose blocks a task's are.
    """
    num_partitions = max(topology.num_partitions for topology in topologies.values())
    numbers: dict[Step, int] = {}

    def number(step: Step) -> int:
        return numbers.setdefault(step, num_partitions + len(numbers))

    outputs = {}
    for task, topology in topologies.items():
        carried = list(range(NUM_PATHS))
        for stage in range(1, topology.num_stages + 1):
            previous = list(carried)
            for path in range(NUM_PATHS):
                if topology.active(stage, path):
                    fused = _fused(previous, (stage, path), topology)
                    value = fused if isinstance(fused, int) else number(fused)
                    carried[path] = number(BlockCall(module_name(task, (stage, path), share), path, value))
        last = {path: _fused(carried, (topology.num_stages + 1, path), topology) for path in topology.outputs}
        outputs[task] = {path: fused if isinstance(fused, int) else number(fused) for path, fused in last.items()}
    return Plan(num_partitions, tuple(numbers), outputs)


def module_name(task: str, block: Block, share: Share) -> str:
    """Return the name of a task's block in a joint network; that of a supernet's where tasks share blocks."""
    name = f"blocks.s{block[0]}_p{block[1]}"
    return name if share == "blocks" else f"branches.{task}.{name}"


def _fused(carried: Sequence[int], target: Block, topology: Topology) -> Fusion | int:
    """Return the step that makes what a block or an output reads; a value where nothing is fused into it."""
    stage, path = target
    sources = tuple((other, carried[other]) for other in topology.fused_paths(stage, path))
    return Fusion(path, carried[path], sources) if sources else carried[path]


def _inputs(step: Step) -> tuple[int, ...]:
    if isinstance(step, BlockCall):
        return (step.input,)
    return step.carried, *(value for _, value in step.sources)
