"""The search spaces of FNA++: Table 1 (MobileNetV2), Table 7 with Fig. 3 (ResNets) and Table 9 (NAS networks).

A row of a table is ``(channels, layers, stride)`` of a stage of searched blocks (SBlock); the stride belongs to the
first layer, which cannot be skipped. For segmentation, Table 1 prints stride 1 for the stage of 160 channels, since
DeepLabv3 runs the backbone at output stride 16; here that stage has its nominal stride 2, and the space the output
stride 16, which is the same network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from timm.layers import make_divisible

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.projects.fna.block_spec import BlockSpec, Stem
from fbnetv5.projects.fna.space import Layer, Space

Row = tuple[int, int, int]

KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)
RESIDUAL_TYPES = ((3, 1), (5, 2), (5, 4), (7, 4), (7, 8))  # (kernel, groups), Table 7

_MOBILENETV2_SEG: tuple[Row, ...] = ((24, 4, 2), (32, 4, 2), (64, 6, 2), (96, 6, 1), (160, 4, 2), (320, 1, 1))
_MOBILENETV2_DET: tuple[Row, ...] = ((24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 2), (320, 1, 1))
_FBNETC: tuple[Row, ...] = ((24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
_PROXYLESS: tuple[Row, ...] = ((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
# Not from the paper: the widths of EfficientNet-Lite0, whose ImageNet weights a package has; depths of Table 9.
_EFFICIENTNET_LITE0: tuple[Row, ...] = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (112, 4, 1), (192, 4, 2), (320, 1, 1))
# Not from the paper: about as many layers as the seed has, for small data on a CPU.
_MOBILENETV2_SMALL: tuple[Row, ...] = ((24, 3, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


def scale_channels(channels: int, width: float) -> int:
    """Return channels at a width multiplier, as timm rounds them."""
    return int(make_divisible(channels * width, round_limit=0.9))


def searched_stage(channels: int, num_layers: int, stride: int) -> tuple[Layer, ...]:
    """Return a stage of SBlocks: every kernel with every expansion, and but for the first layer the identity."""
    blocks = [BlockSpec("mbconv", channels, kernel, expansion) for expansion in EXPANSIONS for kernel in KERNELS]
    first = tuple(dataclasses.replace(block, stride=stride) for block in blocks)
    return (first, *((*blocks, None) for _ in range(num_layers - 1)))


def mobile_space(
    name: str,
    seed: str,
    rows: Sequence[Row],
    *,
    stem: int,
    first: BlockSpec,
    width: float = 1.0,
    activation: str = "relu6",
    bn_epsilon: float = 1e-5,
    output_stride: int = 32,
) -> Space:
    """Return a space of mobile blocks.

    Args:
        name: of the space.
        seed: name of the seed's architecture.
        rows: of the searched stages.
        stem: channels of the stem.
        first: the block after the stem, MBConv(k3e1), which is not searched.
        width: multiplier of all channels.
        activation, bn_epsilon, output_stride: of the space.
    """
    fixed = dataclasses.replace(first, channels=scale_channels(first.channels, width))
    stages = [searched_stage(scale_channels(channels, width), layers, stride) for channels, layers, stride in rows]
    return Space(
        name,
        seed,
        Stem(scale_channels(stem, width)),
        (((fixed,),), *stages),
        activation,
        bn_epsilon,
        output_stride,
    )


def residual_space(name: str, seed: str, kind: str, channels: Sequence[int], num_layers: Sequence[int]) -> Space:
    """Return a space of ResNet blocks, whose layers choose kernel and groups (Table 7); none can be skipped.

    Args:
        name: of the space.
        seed: name of the seed's architecture.
        kind: ``basic`` or ``bottleneck``.
        channels, num_layers: of each stage.
    """
    stages = []
    for index, (width, number) in enumerate(zip(channels, num_layers, strict=True)):
        layers = []
        for layer in range(number):
            stride = 2 if index and layer == 0 else 1
            layers.append(
                tuple(BlockSpec(kind, width, kernel, stride=stride, groups=groups) for kernel, groups in RESIDUAL_TYPES)
            )
        stages.append(tuple(layers))
    return Space(name, seed, Stem(64, kernel=7, pool=True), tuple(stages))


def _relu6_space(name: str, seed: str, rows: Sequence[Row], *, width: float = 1.0, output_stride: int = 32) -> Space:
    """Return a space whose first layers and activations are MobileNetV2's."""
    first = BlockSpec("separable", 16)
    return mobile_space(name, seed, rows, stem=32, first=first, width=width, output_stride=output_stride)


def _for_tasks(
    name: str, seed: str, rows: Sequence[Row], seg_rows: Sequence[Row] | None = None, width: float = 1.0
) -> tuple[Space, Space, Space]:
    """Return the spaces for segmentation, at output stride 16, detection and pose."""
    return (
        _relu6_space(f"{name}_seg", seed, seg_rows or rows, width=width, output_stride=16),
        _relu6_space(f"{name}_det", seed, rows, width=width),
        _relu6_space(f"{name}_pose", seed, rows, width=width),
    )


SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        *_for_tasks("mobilenetv2", "mobilenetv2_100", _MOBILENETV2_DET, _MOBILENETV2_SEG),
        residual_space("resnet18", "resnet18", "basic", (64, 128, 256, 512), (2, 2, 2, 2)),
        residual_space("resnet50", "resnet50", "bottleneck", (256, 512, 1024, 2048), (3, 4, 6, 3)),
        mobile_space(
            "fbnetc",
            "fbnetc_100",
            _FBNETC,
            stem=16,
            first=BlockSpec("mbconv", 16, expansion=1),
            activation="relu",
            bn_epsilon=1e-3,
        ),
        mobile_space(
            "proxyless",
            "proxyless_mobile",
            _PROXYLESS,
            stem=32,
            first=BlockSpec("separable", 16),
            bn_epsilon=1e-3,
        ),
        *_for_tasks("efficientnet_lite0", "timm/efficientnet_lite0", _EFFICIENTNET_LITE0),
        *_for_tasks("mobilenetv2_035", "mobilenetv2_035", _MOBILENETV2_SMALL, width=0.35),
    )
}


def get_space(name: str) -> Space:
    """Return the space called ``name``, such as ``mobilenetv2_seg``; those of width 0.35 are for small data.

    Raises:
        InputError: there is no such space; the message lists those there are.
    """
    if name not in SPACES:
        raise InputError(f"unknown space '{name}'{nearest(name, SPACES)} (known: {', '.join(SPACES)})")
    return SPACES[name]
