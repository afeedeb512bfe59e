"""The network of FBNetV5: a trunk, and stages of blocks on four paths (Section 3.1, Fig. 2).

The supernet is the network in which every block exists. A searched network has some of them, under the same names, so
that the supernet's weights load into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from fbnetv5.archs.blocks import build_layers
from fbnetv5.archs.families import NUM_PATHS, Family, Layer
from fbnetv5.archs.fusion import to_path
from fbnetv5.archs.topology import Block, Topology
from fbnetv5.base.seeding import draw_base, named
from fbnetv5.base.types import Size


class MultiPathNet(nn.Module):
    """Images to features on up to four paths, of strides 4, 8, 16 and 32.

    First values of a trunk partition or a block depend on the state of torch's global generator and on its name alone:
    networks of different topologies that are built under one seed share them where they share blocks, and leave the
    generator in the same state.

    Args:
        family: tables of the layers.
        topology: the blocks to build, and the trunk partitions that they and the outputs need. Its ``prune`` leaves out
            what no output can see.
    """

    def __init__(self, family: Family, topology: Topology) -> None:
        super().__init__()
        self.family = family
        self.topology = topology
        self.channels = family.channels
        base = draw_base()
        self.trunk = nn.ModuleList(
            build_part(layers, base, f"trunk.{index}")
            for index, layers in enumerate(family.partitions[: topology.num_partitions])
        )
        self.blocks = nn.ModuleDict(
            {
                block_name(block): build_part(family.block(block[1]), base, f"blocks.{block_name(block)}")
                for block in sorted(topology.blocks)
            }
        )

    def forward(
        self, images: Tensor, topology: Topology | None = None, gates: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Compute the features of the paths in ``topology.outputs``.

        Args:
            images: ``[N, 3, H, W]``.
            topology: the blocks to use, any that were built; by default all of them.
            gates: ``[S, 4]``, how much of each block of ``topology`` counts. A block's path carries
                ``gate * block(x) + (1 - gate) * carried``, and it sends ``gate * block(x)`` to other paths, so that 1
                selects a block and 0 skips it. By default there are none.

        Returns:
            Path to feature, ``[N, channels[path], H / stride, W / stride]`` up to rounding.

        Raises:
            ValueError: a block or trunk partition was not built, or the gates' shape is wrong.
        """
        topology = self.topology if topology is None else topology
        return self.stages(self.partitions(images, topology.num_partitions), topology, gates)

    def partitions(self, images: Tensor, count: int) -> list[Tensor]:
        """Compute the features that the first ``count`` trunk partitions end with: what the paths carry at first.

        Raises:
            ValueError: a partition was not built.
        """
        if count > len(self.trunk):
            raise ValueError(f"trunk partition {len(self.trunk)} was not built, and the topology needs it")
        features = []
        x = images
        for partition in list(self.trunk)[:count]:
            x = partition(x)
            features.append(x)
        return features

    def stages(self, carried: Sequence[Tensor], topology: Topology, gates: Tensor | None = None) -> dict[int, Tensor]:
        """Compute the features of the paths in ``topology.outputs`` from those of the trunk.

        Args:
            carried: of the partitions that the topology needs, or of more.
            topology, gates: as in :meth:`forward`.

        Raises:
            ValueError: a block was not built, or the gates' shape is wrong.
        """
        self._check_built(topology)
        if gates is not None and gates.shape != (topology.num_stages, NUM_PATHS):
            raise ValueError(f"gates are {list(gates.shape)}, expected [{topology.num_stages}, {NUM_PATHS}]")
        carried = list(carried)
        sent = list(carried)  # what blocks give, of which paths carry a blend where there are gates
        for stage in range(1, topology.num_stages + 1):
            previous, given = list(carried), list(sent)
            for path in range(NUM_PATHS):
                if topology.active(stage, path):
                    read = self.fuse(previous, (stage, path), topology, gates, given)
                    x = sent[path] = self.blocks[block_name((stage, path))](read)
                    if gates is not None:
                        gate = gates[stage - 1, path]
                        x = gate * x + (1 - gate) * previous[path]
                    carried[path] = x
        last = topology.num_stages + 1
        return {path: self.fuse(carried, (last, path), topology, gates, sent) for path in topology.outputs}

    def fuse(
        self,
        carried: Sequence[Tensor],
        target: Block,
        topology: Topology,
        gates: Tensor | None = None,
        sent: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Return what ``target`` reads: its path's feature plus, resampled, what the blocks before sent."""
        stage, path = target
        total, sent = carried[path], carried if sent is None else sent
        size = (total.shape[2], total.shape[3])
        for source in topology.fused_paths(stage, path):
            term = self.resample(sent[source], source, path, size)
            if gates is not None and stage > 1:
                term = gates[stage - 2, source] * term
            total = total + term
        return total

    def resample(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Bring a feature [N, C, H, W] of path ``source`` to path ``target``, of ``size`` (height, width)."""
        return to_path(x, source, target, self.channels[target], size)

    def _check_built(self, topology: Topology) -> None:
        missing = sorted(topology.blocks - self.topology.blocks)
        if missing:
            stage, path = missing[0]
            raise ValueError(f"the block of stage {stage}, path {path} was not built, and the topology selects it")


def build_part(layers: Sequence[Layer], base: int, name: str) -> nn.Sequential:
    """Build a trunk partition or a block, whose first values depend on ``base`` and its name."""
    with named(base, name):
        part = build_layers(layers)
        efficientnet_init_weights(part)
    return part


def block_name(block: Block) -> str:
    """Return what a block is called among a network's blocks, such as ``s1_p3``."""
    stage, path = block
    return f"s{stage}_p{path}"
