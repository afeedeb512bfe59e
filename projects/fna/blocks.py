"""From a block's specification to its convolutions and to timm's module.

The table of convolutions is what everything else is computed from: the module, its cost and the remapping of its
parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from timm.layers import get_act_layer
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

from fbnetv5.archs.cost import Cost, bn_cost, conv_cost
from fbnetv5.base.types import Size
from fbnetv5.projects.fna.block_spec import MOBILE_KINDS, BlockSpec, Stem

Width = Literal["input", "inner", "output"]


@dataclass(frozen=True)
class ConvSpec:
    """One convolution of a block, without a bias, and the batch normalisation after it.

    Attributes:
        name: of the convolution within the block.
        bn: name of the batch normalisation.
        in_width, out_width: which of the block's widths its input and output have.
        in_channels, out_channels: numbers of channels.
        kernel, stride, dilation, groups: of the convolution; its padding keeps the size at stride 1.
        on_shortcut: whether it reads the block's input beside the others.
    """

    name: str
    bn: str
    in_width: Width
    out_width: Width
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    on_shortcut: bool = False

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is convolved on its own."""
        return self.groups == self.in_channels == self.out_channels and self.in_width == self.out_width

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weight: [out, in / groups, kernel, kernel]."""
        return (self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel)


def has_shortcut(spec: BlockSpec, in_channels: int) -> bool:
    """Whether the block's input itself is added to its output."""
    return spec.stride == 1 and in_channels == spec.channels


def block_convs(spec: BlockSpec, in_channels: int) -> tuple[ConvSpec, ...]:
    """List a block's convolutions in the order in which they are computed, that of the shortcut last."""
    inner, out = spec.inner_channels(in_channels), spec.channels
    if spec.kind == "separable":
        depthwise = _searched_conv(spec, "conv_dw", "bn1", "input", "input", in_channels, in_channels)
        return (depthwise, ConvSpec("conv_pw", "bn2", "input", "output", in_channels, out))
    if spec.kind == "mbconv":
        return (
            ConvSpec("conv_pw", "bn1", "input", "inner", in_channels, inner),
            _searched_conv(spec, "conv_dw", "bn2", "inner", "inner", inner, inner),
            ConvSpec("conv_pwl", "bn3", "inner", "output", inner, out),
        )
    convs: tuple[ConvSpec, ...]
    if spec.kind == "basic":
        second = spec.second_dilation or spec.dilation
        convs = (
            _searched_conv(spec, "conv1", "bn1", "input", "inner", in_channels, inner),
            ConvSpec("conv2", "bn2", "inner", "output", inner, out, kernel=3, dilation=second),
        )
    else:
        convs = (
            ConvSpec("conv1", "bn1", "input", "inner", in_channels, inner),
            _searched_conv(spec, "conv2", "bn2", "inner", "inner", inner, inner),
            ConvSpec("conv3", "bn3", "inner", "output", inner, out),
        )
    if has_shortcut(spec, in_channels):
        return convs
    projection = ConvSpec(
        "downsample.0", "downsample.1", "input", "output", in_channels, out, stride=spec.stride, on_shortcut=True
    )
    return (*convs, projection)


def _searched_conv(
    spec: BlockSpec, name: str, bn: str, in_width: Width, out_width: Width, in_channels: int, out_channels: int
) -> ConvSpec:
    groups = in_channels if spec.kind in MOBILE_KINDS else spec.groups
    return ConvSpec(
        name,
        bn,
        in_width,
        out_width,
        in_channels,
        out_channels,
        kernel=spec.kernel,
        stride=spec.stride,
        dilation=spec.dilation,
        groups=groups,
    )


def build_block(spec: BlockSpec, in_channels: int, *, activation: str, bn_epsilon: float) -> nn.Module:
    """Build timm's block, a module from ``[N, in_channels, H, W]`` to ``[N, spec.channels, H / stride, W / stride]``.

    timm's ResNet blocks have 3x3 kernels, and a basic one a single group; the convolutions of the table replace them.
    """
    act_layer = get_act_layer(activation)
    block: nn.Module
    if spec.kind == "separable":
        block = DepthwiseSeparableConv(in_channels, spec.channels, stride=spec.stride, act_layer=act_layer)
    elif spec.kind == "mbconv":
        block = InvertedResidual(
            in_channels, spec.channels, stride=spec.stride, exp_ratio=spec.ratio, act_layer=act_layer
        )
    else:
        block_class = BasicBlock if spec.kind == "basic" else Bottleneck
        convs = block_convs(spec, in_channels)
        has_projection = any(conv.on_shortcut for conv in convs)
        projection = nn.Sequential(nn.Identity(), nn.Identity()) if has_projection else None
        planes = spec.channels // block_class.expansion
        block = block_class(in_channels, planes, spec.stride, projection, act_layer=act_layer)
    for conv in block_convs(spec, in_channels):
        block.set_submodule(conv.name, _build_conv(conv))
        _set_bn(block, conv, bn_epsilon)
    return block


def _build_conv(conv: ConvSpec) -> nn.Conv2d:
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel,
        stride=conv.stride,
        padding=conv.dilation * (conv.kernel // 2),
        dilation=conv.dilation,
        groups=conv.groups,
        bias=False,
    )


def _set_bn(block: nn.Module, conv: ConvSpec, epsilon: float) -> None:
    """Give the BN after ``conv`` its width and epsilon; timm's may have an activation in it, which stays."""
    bn = block.get_submodule(conv.bn)
    if not isinstance(bn, nn.BatchNorm2d) or bn.num_features != conv.out_channels:
        bn = nn.BatchNorm2d(conv.out_channels)
        block.set_submodule(conv.bn, bn)
    bn.eps = epsilon


def halved(size: Size, stride: int) -> Size:
    """Return the height and width after a convolution or pooling of ``stride``: rounded up."""
    return (-(-size[0] // stride), -(-size[1] // stride))


def stem_cost(stem: Stem, size: Size) -> tuple[Cost, Size]:
    """Cost of the stem on images of ``size`` (height, width), and the size of its output."""
    inside = halved(size, 2)
    cost = conv_cost(in_channels=3, out_channels=stem.channels, size=inside, kernel=stem.kernel)
    return cost + bn_cost(stem.channels), halved(inside, stem.stride // 2)


def block_cost(spec: BlockSpec, in_channels: int, size: Size) -> tuple[Cost, Size]:
    """Cost of a block on an input of ``size`` (height, width), and the size of its output."""
    cost, inside = Cost(), size
    for conv in block_convs(spec, in_channels):
        out_size = halved(size if conv.on_shortcut else inside, conv.stride)
        cost += conv_cost(
            in_channels=conv.in_channels,
            out_channels=conv.out_channels,
            size=out_size,
            kernel=conv.kernel,
            groups=conv.groups,
        )
        cost += bn_cost(conv.out_channels)
        if not conv.on_shortcut:
            inside = out_size
    return cost, inside
