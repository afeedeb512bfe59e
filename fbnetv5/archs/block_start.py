"""First values of blocks, from the trunk's last layers (FNA++, eq. 1 to 3)."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from fbnetv5.archs.blocks import last_parts
from fbnetv5.archs.family import Family, Layer
from fbnetv5.archs.remap import first_channels, remap_outputs, remap_width

BlockStart = Literal["copied", "zeroed", "random"]


class HasBlocks(Protocol):
    """A trunk and blocks after it: ``MultiPathNet``, or a branch of a joint network."""

    @property
    def family(self) -> Family:
        """Tables of the layers."""

    @property
    def trunk(self) -> nn.ModuleList:
        """The partitions."""

    @property
    def blocks(self) -> nn.ModuleDict:
        """The blocks, by names such as ``s1_p3``."""


def start_blocks(network: HasBlocks, start: BlockStart) -> None:
    """Give the layers of each block the values of the trunk's layers that they are made after (eq. 1).

    Where a layer is wider than the trunk's, the first channels are the trunk's, and what reads and writes the others
    begins with zeros (eq. 2 and 3). But the convolutions that make inner channels keep their initial values there: a
    channel whose weights are all zero would never learn.

    Args:
        network: whose trunk has its weights.
        start: ``copied``; ``zeroed``, the same with scale and shift of each layer's last BN at zero, so that a block
            begins as what it reads; ``random`` leaves blocks as they are.
    """
    if start == "random":
        return
    for name, block in network.blocks.items():
        path = int(name.rpartition("p")[2])
        partition = list(network.trunk[path].children())
        sources = [partition[index] for index in network.family.block_sources(path)]
        for source, target, layer in zip(sources, block.children(), network.family.block(path), strict=True):
            target.load_state_dict(_remapped(source, target, layer))
            if start == "zeroed":
                bn: Any = target.get_submodule(last_parts(layer)[1])
                nn.init.zeros_(bn.weight)
                nn.init.zeros_(bn.bias)


def _remapped(source: nn.Module, target: nn.Module, layer: Layer) -> dict[str, Tensor]:
    """Return the tensors of ``target``, the module of ``layer``, from those of the layer that it is made after."""
    theirs, own = source.state_dict(), target.state_dict()
    last = last_parts(layer)[0]
    remapped = {}
    for name, initial in own.items():
        tensor = theirs[name]
        if tensor.shape == initial.shape:
            remapped[name] = tensor.clone()
            continue
        outputs = first_channels(len(tensor), len(initial))
        if tensor.ndim == 1 or tensor.shape[1] == initial.shape[1] == 1:  # of a BN, a bias, a depthwise convolution
            changed = remap_outputs(tensor, outputs)
        else:
            changed = remap_width(tensor, outputs, first_channels(tensor.shape[1], initial.shape[1]))
        if name != f"{last}.weight":
            changed = torch.where(_new(outputs.source, changed), initial, changed)
        remapped[name] = changed
    return remapped


def _new(source: Tensor, like: Tensor) -> Tensor:
    """Return which rows of a tensor are new, in a shape that broadcasts with it."""
    return (source < 0).reshape(-1, *(1,) * (like.ndim - 1))
