"""The network of an architecture, for the core's jobs and for the search."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.blocks import build_block
from fbnetv5.projects.fpnas.space import BlockType


class FPNASNetwork(nn.Module):
    """An architecture with weights.

    Path 3 is the last block's output; each path below it is the last feature before the next stride of 2 (or what
    dilation puts in its place). Parameters are named by a block's position and type, ``blocks.4.add_k3e6...``, so that
    weights load by name only where the type is the same.

    Args:
        architecture: a YAML file; or its content, as a mapping.
        multiplier: all channels are times this, rounded to multiples of 8; FPNASNet (2x) has 2.
        output_stride: strides end here and later blocks are dilated, for segmentation; null: as in the architecture.

    Attributes:
        channels: of the features, one number a path; 0 where there is no such path.
        strides: of the features, of the image; 1 where there is no such path.

    Raises:
        InputError: an option is wrong, or the file.
    """

    def __init__(
        self, architecture: str | Mapping[str, Any], *, multiplier: float = 1.0, output_stride: int | None = None
    ) -> None:
        super().__init__()
        if multiplier <= 0:
            raise InputError(f"multiplier={multiplier} is not above 0")
        if isinstance(architecture, str):
            self.given = Architecture.load(architecture)
        else:
            self.given = Architecture.from_dict(architecture)
        self.multiplier, self.output_stride = multiplier, output_stride
        built = self.given if multiplier == 1 else self.given.scaled(multiplier)
        self.ends = _path_ends(built.macro.strides)  # of a block that a path ends with: its path
        if output_stride is not None:
            built = replace(built, macro=built.macro.dilated(output_stride))
        self.architecture, macro = built, built.macro
        self.channels = _by_path(self.ends, [place.channels for place in macro.places], missing=0)
        self.strides = _by_path(self.ends, macro.strides, missing=1)
        self.stem = ConvBnAct(3, macro.stem.channels, 3, stride=macro.stem.stride, act_layer=nn.ReLU6)
        self.first = DepthwiseSeparableConv(
            macro.stem.channels, macro.first.channels, stride=macro.first.stride, noskip=True, act_layer=nn.ReLU6
        )
        typed = zip(built.types, macro.positions, strict=True)
        self.blocks = nn.ModuleList(nn.Sequential(OrderedDict({t.key: build_block(t, at)})) for t, at in typed)
        efficientnet_init_weights(self)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Map [N, 3, H, W] to path to feature, [N, channels[p], H / strides[p], W / strides[p]], sizes rounded up."""
        features: dict[int, Tensor] = {}
        feature = self.first(self.stem(images))
        for number, block in enumerate(self.blocks):
            feature = block(feature)
            if number in self.ends:
                features[self.ends[number]] = feature
        return features

    def resolved_options(self) -> dict[str, Any]:
        """Return the options with the content of the architecture's file in its place."""
        return {
            "architecture": self.given.as_dict(),
            "multiplier": self.multiplier,
            "output_stride": self.output_stride,
        }

    def macs(self, size: Size) -> int:
        """Return the MACs of an image of ``size`` (height, width) in pixels."""
        return self.architecture.cost(size).macs

    def sharing(self, position: int, chosen: BlockType) -> FPNASNetwork:
        """Return a network with a new block of type ``chosen`` at ``position`` (0-based); all other layers are shared.

        Their parameters and buffers are the same tensors in both networks.
        """
        options = {**self.resolved_options(), "architecture": self.given.with_type(position, chosen).as_dict()}
        other = FPNASNetwork(**options)
        other.stem, other.first = self.stem, self.first
        for number, block in enumerate(self.blocks):
            if number != position:
                other.blocks[number] = block
        return other


def _path_ends(strides: Sequence[int]) -> dict[int, int]:
    """Return, for the last block of each of the (at most four) lowest resolutions, the path that it ends."""
    last = [number for number, pair in enumerate(pairwise((*strides, 0))) if pair[0] != pair[1]]
    return {number: NUM_PATHS - len(last[-NUM_PATHS:]) + path for path, number in enumerate(last[-NUM_PATHS:])}


def _by_path(ends: Mapping[int, int], values: Sequence[int], *, missing: int) -> tuple[int, ...]:
    """Return the values of the blocks that the four paths end with."""
    found = {path: values[number] for number, path in ends.items()}
    return tuple(found.get(path, missing) for path in range(NUM_PATHS))
