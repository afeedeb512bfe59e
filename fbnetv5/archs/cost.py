"""MACs and parameters, in closed form, and fvcore's count to hold them against.

One multiply-add is one MAC. Convolutions, linear layers and matrix products count; BN is folded, and nothing else
counts. Parameters are those that are trained, BN's included.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fbnetv5.archs.family import NUM_PATHS, STRIDES, Family, Layer
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated")  # which importing fvcore calls
    from fvcore.nn import FlopCountAnalysis


@dataclass(frozen=True)
class Cost:
    """Cost of a part of a network: MACs an image, and parameters."""

    macs: int = 0
    params: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params)


def output_size(size: Size, layer: Layer) -> Size:
    """Return height and width in pixels of what ``layer`` makes of a feature of ``size`` (height, width)."""
    if layer.pads_like_tensorflow:
        return -(-size[0] // layer.stride), -(-size[1] // layer.stride)
    height, width = ((side + 2 * layer.padding - layer.spatial_kernel) // layer.stride + 1 for side in size)
    return height, width


def conv_cost(
    *, in_channels: int, out_channels: int, size: Size, kernel: int = 1, groups: int = 1, bias: bool = False
) -> Cost:
    """Cost of a convolution with an output of ``size``. A linear layer is one of kernel 1 and size (1, 1)."""
    weights = out_channels * (in_channels // groups) * kernel**2
    return Cost(macs=weights * size[0] * size[1], params=weights + bias * out_channels)


def bn_cost(channels: int) -> Cost:
    """Cost of a batch normalisation: no MACs, a scale and a shift a channel."""
    return Cost(params=2 * channels)


def layer_cost(layer: Layer, size: Size) -> Cost:
    """Cost of a layer whose input has ``size``."""
    out_size = output_size(size, layer)
    if layer.operator == "conv":
        conv = conv_cost(
            in_channels=layer.in_channels, out_channels=layer.out_channels, size=out_size, kernel=layer.kernel
        )
        return conv + bn_cost(layer.out_channels)
    width, squeezed = layer.expanded_channels, layer.squeezed_channels
    cost = conv_cost(in_channels=width, out_channels=layer.out_channels, size=out_size) + bn_cost(layer.out_channels)
    if layer.start_kernel:
        start_size = size if layer.kernel else out_size
        cost += _depthwise_cost(layer.in_channels, start_size, layer.start_kernel)
        size = start_size
    if layer.has_expansion:
        cost += conv_cost(in_channels=layer.in_channels, out_channels=width, size=size) + bn_cost(width)
    if layer.operator == "edge":
        cost += conv_cost(in_channels=layer.in_channels, out_channels=width, size=out_size, kernel=layer.kernel)
        cost += bn_cost(width)
    elif layer.kernel:
        cost += _depthwise_cost(width, out_size, layer.kernel)
    if layer.squeeze_excite:
        cost += conv_cost(in_channels=width, out_channels=squeezed, size=(1, 1), bias=True)
        cost += conv_cost(in_channels=squeezed, out_channels=width, size=(1, 1), bias=True)
    return cost


def _depthwise_cost(channels: int, size: Size, kernel: int) -> Cost:
    cost = conv_cost(in_channels=channels, out_channels=channels, size=size, kernel=kernel, groups=channels)
    return cost + bn_cost(channels)


def layers_cost(layers: tuple[Layer, ...], size: Size) -> tuple[Cost, Size]:
    """Cost of layers that follow one another, the first on an input of ``size``; and the size of their output."""
    cost = Cost()
    for layer in layers:
        cost += layer_cost(layer, size)
        size = output_size(size, layer)
    return cost, size


def feature_sizes(family: Family, size: Size) -> tuple[Size, ...]:
    """Return the height and width of the feature on each of the four paths, for images of ``size``.

    Raises:
        InputError: the images are so small that a feature has no pixel.
    """
    sizes, of_layer = [], size
    for path, layers in enumerate(family.partitions):
        of_layer = layers_cost(layers, of_layer)[1]
        if min(of_layer) < 1:
            raise InputError(
                f"images of {size[0]}x{size[1]} pixels leave none on path {path} of family {family.name}, whose stride "
                f"is {STRIDES[path]}; take larger ones"
            )
        sizes.append(of_layer)
    return tuple(sizes)


@functools.cache
def least_side(family: Family) -> int:
    """Return the least multiple of the largest stride at which images have a pixel on every path; 32 or 64."""
    side = STRIDES[-1]
    while True:
        try:
            feature_sizes(family, (side, side))
        except InputError:
            side += STRIDES[-1]
        else:
            return side


def has_one_pixel(family: Family, side: int, path: int) -> bool:
    """Whether the feature of a square image on a path is one pixel, of which BN has no statistics without others."""
    return feature_sizes(family, (side, side))[path] == (1, 1)


def partition_costs(family: Family, size: Size) -> tuple[Cost, ...]:
    """Cost of each of the four trunk partitions, for images of ``size``."""
    inputs = (size, *feature_sizes(family, size)[:-1])
    return tuple(layers_cost(layers, at)[0] for layers, at in zip(family.partitions, inputs, strict=True))


def block_costs(family: Family, size: Size) -> tuple[Cost, ...]:
    """Cost of one block on each of the four paths, for images of ``size``; every stage's are the same."""
    return tuple(layers_cost(family.block(path), at)[0] for path, at in enumerate(feature_sizes(family, size)))


def block_macs(family: Family, num_stages: int, size: Size) -> list[int]:
    """MACs of a supernet's blocks, stage by stage: ``num_stages`` x 4 numbers, as ``TopologySpace`` takes them."""
    return [cost.macs for cost in block_costs(family, size)] * num_stages


def block_params(family: Family, num_stages: int) -> list[int]:
    """Parameters of a supernet's blocks, stage by stage: ``num_stages`` x 4 numbers. Fusion has none."""
    return [layers_cost(family.block(path), (1, 1))[0].params for path in range(NUM_PATHS)] * num_stages


def network_cost(family: Family, topology: Topology, size: Size) -> Cost:
    """Cost of ``MultiPathNet(family, topology)`` for images of ``size``. Fusion costs nothing."""
    blocks = block_costs(family, size)
    trunk = sum(partition_costs(family, size)[: topology.num_partitions], Cost())
    return sum((blocks[path] for _, path in topology.blocks), trunk)


def classifier_cost(
    family: Family, num_classes: int, size: Size, *, expansion: int = 6, hidden_channels: int = 1984
) -> Cost:
    """Cost of the family's ``MBPoolClassifier`` on path 3, for images of ``size``."""
    in_channels = family.channels[NUM_PATHS - 1]
    expanded = in_channels * expansion
    cost = conv_cost(in_channels=in_channels, out_channels=expanded, size=feature_sizes(family, size)[NUM_PATHS - 1])
    cost += bn_cost(expanded)
    cost += conv_cost(in_channels=expanded, out_channels=hidden_channels, size=(1, 1))
    return cost + conv_cost(in_channels=hidden_channels, out_channels=num_classes, size=(1, 1), bias=True)


# What fvcore counts although no matrices are multiplied.
_UNCOUNTED = {
    "batch_norm",
    "group_norm",
    "layer_norm",
    "instance_norm",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "adaptive_avg_pool2d",
    "grid_sampler",
}


class _TensorsOnly(nn.Module):
    """A module whose output is the tensors of another's, as fvcore's tracer knows no integer keys."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: object) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in tree_leaves(self.module(*inputs)) if isinstance(leaf, Tensor))


def measured_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Count the MACs of ``module(*inputs)`` with fvcore, in eval mode; the modes of all its parts are restored."""
    modes = {part: part.training for part in module.modules()}
    try:
        analysis = FlopCountAnalysis(_TensorsOnly(module).eval(), inputs)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, whose trace is counted and thrown away
            return sum(int(count) for name, count in analysis.by_operator().items() if name not in _UNCOUNTED)
    finally:
        for part, mode in modes.items():
            part.training = mode
