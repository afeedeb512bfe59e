"""One network for several tasks: the trunk once, and a branch of blocks a task."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from fbnetv5.archs.cost import Cost, block_costs, partition_costs
from fbnetv5.archs.families import Family
from fbnetv5.archs.fusion import to_path
from fbnetv5.archs.joint_plan import BlockCall, Fusion, Plan, Share, make_plan, module_name
from fbnetv5.archs.network import block_name, build_part
from fbnetv5.archs.topology import Block, Topology
from fbnetv5.base.seeding import draw_base
from fbnetv5.base.types import Size

TRUNK, SHARED = "trunk", "shared"
"""Names of the parts of a joint network that belong to no single task."""


class Parts(NamedTuple):
    """A trunk and blocks after it, as ``start_blocks`` takes them."""

    family: Family
    trunk: nn.ModuleList
    blocks: nn.ModuleDict


class JointNet(nn.Module):
    """Images to the features that each of several tasks reads.

    First values of a trunk partition or a block depend on the state of torch's global generator and on its name in a
    supernet alone, as those of ``MultiPathNet`` do: a task's branch starts as its separate network would.

    Args:
        family: tables of the layers.
        topologies: of the tasks, by name; all their blocks are built, and the trunk as deep as the deepest needs it.
        share: ``trunk``: each task has blocks of its own, ``branches.<task>.blocks``; ``blocks``: there is one block a
            place, ``blocks``, which is computed once for tasks that have the same input to it.
    """

    def __init__(self, family: Family, topologies: Mapping[str, Topology], share: Share = "trunk") -> None:
        super().__init__()
        self.family = family
        self.topologies = dict(topologies)
        self.share = share
        self.channels = family.channels
        self.plan = make_plan(self.topologies, share)
        base = draw_base()
        self.trunk = nn.ModuleList(
            build_part(layers, base, f"trunk.{index}")
            for index, layers in enumerate(family.partitions[: self.plan.num_partitions])
        )
        if share == "blocks":
            every = {block for topology in self.topologies.values() for block in topology.blocks}
            self.blocks = _build_blocks(family, every, base)
        else:
            self.branches = nn.ModuleDict(
                {
                    task: nn.ModuleDict({"blocks": _build_blocks(family, topology.blocks, base)})
                    for task, topology in self.topologies.items()
                }
            )

    def forward(self, images: Tensor, tasks: Collection[str] | None = None) -> dict[str, dict[int, Tensor]]:
        """Compute the features of each task.

        Args:
            images: ``[N, 3, H, W]``.
            tasks: whose features are computed; by default all.

        Returns:
            by task, path to feature, ``[N, channels[path], H / stride, W / stride]`` up to rounding.

        Raises:
            KeyError: there is no such task.
        """
        plan = self.plan if tasks is None else make_plan({task: self.topologies[task] for task in tasks}, self.share)
        return self.follow(plan, images)

    def follow(self, plan: Plan, images: Tensor) -> dict[str, dict[int, Tensor]]:
        """Compute the outputs of a plan for this network's modules, as :meth:`forward` returns them."""
        values = [images]
        for partition in list(self.trunk)[: plan.num_partitions]:
            values.append(partition(values[-1]))
        del values[0]
        for step in plan.steps:
            if isinstance(step, BlockCall):
                values.append(self.get_submodule(step.module)(values[step.input]))
            else:
                values.append(self.fuse(values, step))
        return {task: {path: values[value] for path, value in paths.items()} for task, paths in plan.outputs.items()}

    def fuse(self, values: list[Tensor], step: Fusion) -> Tensor:
        """Return what a path carries plus, resampled to it, the values of other paths."""
        total = values[step.carried]
        size = (total.shape[2], total.shape[3])
        for source, value in step.sources:
            total = total + self.resample(values[value], source, step.path, size)
        return total

    def resample(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Bring a feature [N, C, H, W] of path ``source`` to path ``target``, of ``size`` (height, width)."""
        return to_path(x, source, target, self.channels[target], size)

    def parts(self, task: str | None = None) -> Iterator[Parts]:
        """Yield trunk and blocks of every branch, or of one task's; the blocks are shared where tasks share them."""
        if self.share == "blocks":
            yield Parts(self.family, self.trunk, self.blocks)
            return
        for name, branch in self.branches.items():
            if task in (None, name):
                blocks = branch.get_submodule("blocks")
                assert isinstance(blocks, nn.ModuleDict)
                yield Parts(self.family, self.trunk, blocks)

    def modules_of(self, tasks: Collection[str]) -> list[str]:
        """Return the names of the trunk partitions and blocks that these tasks need."""
        chosen = [self.topologies[task] for task in tasks]
        partitions = [f"trunk.{index}" for index in range(max((each.num_partitions for each in chosen), default=0))]
        blocks = [module_name(task, block, self.share) for task in tasks for block in self.topologies[task].blocks]
        return [*partitions, *sorted(set(blocks))]


def joint_costs(family: Family, topologies: Mapping[str, Topology], share: Share, size: Size) -> dict[str, Cost]:
    """Return the costs of a joint network by part, for images of ``size``; fusion costs nothing.

    Returns:
        ``trunk``; where tasks share blocks, ``shared``: applications of blocks that are computed for several tasks,
        and parameters of blocks that several have; and what each task adds, by its name.
    """
    plan = make_plan(topologies, share)
    of_block = block_costs(family, size)
    costs = {TRUNK: sum(partition_costs(family, size)[: plan.num_partitions], Cost())}
    costs |= {SHARED: Cost()} if share == "blocks" else {}
    costs |= {task: Cost() for task in topologies}
    owners: dict[str, tuple[int, frozenset[str]]] = {}
    for call, users in plan.calls():
        costs[_part(users)] += Cost(macs=of_block[call.path].macs)
        owners[call.module] = call.path, users | owners.get(call.module, (0, frozenset()))[1]
    for path, users in owners.values():
        costs[_part(users)] += Cost(params=of_block[path].params)
    return costs


def _part(users: frozenset[str]) -> str:
    return next(iter(users)) if len(users) == 1 else SHARED


def _build_blocks(family: Family, blocks: Collection[Block], base: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            block_name(block): build_part(family.block(block[1]), base, f"blocks.{block_name(block)}")
            for block in sorted(blocks)
        }
    )
