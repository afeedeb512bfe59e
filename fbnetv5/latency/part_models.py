"""The parts of a family's networks as models of their own, each from one feature to what a runtime makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from fbnetv5.archs.cost import feature_sizes
from fbnetv5.archs.families import NUM_PATHS, Family
from fbnetv5.archs.network import MultiPathNet, block_name
from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Size
from fbnetv5.export.deployed import deployed_head, folded
from fbnetv5.export.network import DeployedNetwork
from fbnetv5.heads.head import Head
from fbnetv5.latency.bundle import Exportable
from fbnetv5.model.task_net import build_head

FEATURE = "feature"
HeadEntry = tuple[dict[str, Any], int]  # of ``model.head``, and the number of classes
HEAD = "head_"
KINDS = ("partition", "block")  # the first rows of a latency table


class LayersPart(nn.Module):
    """A trunk partition or a block.

    Args:
        layers: its own; called network, as int8 is for what is in a network.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.network = layers

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """Compute the feature [1, C', H', W'] after a feature [1, C, H, W]."""
        return {FEATURE: self.network(feature)}


class FusionPart(nn.Module):
    """A feature that is brought to another path and added to what that carries, which is a constant here.

    Args:
        network: whose way to fuse it is.
        source, target: the paths.
        carried: by the target [1, C, H, W].
    """

    carried: Tensor

    def __init__(self, network: DeployedNetwork, source: int, target: int, carried: Tensor) -> None:
        super().__init__()
        self.network = network
        self.source, self.target = source, target
        self.register_buffer("carried", carried, persistent=False)

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """Compute the sum on the target path from the feature [1, C', H', W'] of the source."""
        features = [feature if path == self.source else self.carried for path in range(NUM_PATHS)]
        return {FEATURE: self.network.fuse(features, (2, self.target), _edge_from(self.source))}


class HeadPart(nn.Module):
    """A head on a feature and constants in the place of its others.

    Args:
        head: deployed for one image.
        paths: that it reads.
        others: features [1, C, H, W] of all of them but the first.
        size: (height, width) of the image in pixels.
    """

    size: Tensor

    def __init__(self, head: nn.Module, paths: Sequence[int], others: Sequence[Tensor], size: Size) -> None:
        super().__init__()
        self.head = head
        self.paths = tuple(paths)
        self.register_buffer("size", torch.tensor(size, dtype=torch.float32), persistent=False)
        for path, feature in zip(self.paths[1:], others, strict=True):
            self.register_buffer(f"other_{path}", feature, persistent=False)

    def forward(self, feature: Tensor) -> Any:
        """Predict from the first path's feature [1, C, H, W]; the others depend on it, lest they are computed ahead."""
        first = feature[:, :1, :1, :1]
        others = {path: getattr(self, f"other_{path}") + first for path in self.paths[1:]}
        return self.head({self.paths[0]: feature, **others}, self.size)


def part_models(family: Family, size: Size, heads: Mapping[str, HeadEntry]) -> Iterator[Exportable]:
    """Yield the trunk partitions, blocks, ways to fuse and heads of a family's networks, with random weights.

    Args:
        family: of the networks.
        size: (height, width) of the images in pixels.
        heads: by name.

    Raises:
        InputError: a head does not fit, or cannot be exported.
    """
    with forked(0, Purpose.INITIALISATION):
        network = MultiPathNet(family, Topology.full(1)).eval()
        built = {name: _folded_head(family, *entry) for name, entry in heads.items()}
        sizes = feature_sizes(family, size)
        features = [torch.randn(1, family.channels[path], *sizes[path]) for path in range(NUM_PATHS)]
    inputs = [(3, size), *zip(family.channels, sizes, strict=True)]
    made_of = repr((family.partitions, size))

    def part(name: str, path: int, build: Callable[[], nn.Module], more: str = "") -> Exportable:
        """A part that reads what a path carries; -1 is the image."""
        return Exportable(name, f"{name} of {made_of}{more}", *inputs[path + 1], build)

    for path in range(NUM_PATHS):
        yield part(f"partition_{path}", path - 1, partial(LayersPart, folded(network.trunk[path])))
    for path in range(NUM_PATHS):
        block = folded(network.blocks[block_name((1, path))])
        yield part(f"block_{path}", path, partial(LayersPart, block))
    fusing = _only_fusing(network)
    for source in range(NUM_PATHS):
        for target in range(NUM_PATHS):
            if source != target:
                build = partial(FusionPart, fusing, source, target, features[target])
                yield part(f"fusion_{source}_{target}", source, build)
    for name, head in built.items():
        own = {path: features[path] for path in head.paths}
        with torch.no_grad():
            deployed = deployed_head(head, own, size, 1)
        module = HeadPart(deployed, head.paths, [own[path] for path in head.paths[1:]], size)
        yield part(f"{HEAD}{name}", head.paths[0], partial(_same, module), repr(heads[name]))


def place_of(name: str) -> tuple[int, int] | None:
    """Return the row and column of a part's milliseconds in the rows of a latency table; None of what is no such."""
    kind, *paths = name.split("_")
    if kind == "fusion":
        return 2 + int(paths[0]), int(paths[1])
    return (KINDS.index(kind), int(paths[0])) if kind in KINDS else None


def _folded_head(family: Family, entry: dict[str, Any], num_classes: int) -> Head:
    head: Any = build_head(entry, family.channels, num_classes)
    return cast(Head, folded(head))


def _same(module: nn.Module) -> nn.Module:
    return module


def _edge_from(source: int) -> Topology:
    """Return the topology in which the only thing that is fused comes from a block on this path."""
    return Topology(2, frozenset({(1, source)}))


def _only_fusing(network: MultiPathNet) -> DeployedNetwork:
    deployed = DeployedNetwork(network)
    deployed.trunk, deployed.blocks = nn.ModuleList(), nn.ModuleDict()
    return deployed.eval()
