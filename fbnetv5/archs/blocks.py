"""From a row of a family's table to a module, on timm's blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual, SqueezeExcite
from torch import nn

from fbnetv5.archs.families import Layer


def build_layer(layer: Layer) -> nn.Module:
    """Build one layer, a module from ``[N, layer.in_channels, H, W]`` to ``[N, layer.out_channels, H', W']``.

    H' is ``(H + 2 padding - kernel) // stride + 1``, and W' likewise.
    """
    if layer.operator == "conv":
        return ConvBnAct(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            stride=layer.stride,
            pad_type=layer.padding,
            act_layer=nn.Hardswish,
        )
    # timm calls this with a width and an activation, although it asks for a class.
    squeeze_excite: Any = partial(SqueezeExcite, rd_channels=layer.squeezed_channels, gate_layer=nn.Hardsigmoid)
    # A layer without an expansion has no expansion convolution either.
    block = DepthwiseSeparableConv if layer.expansion == 1 else partial(InvertedResidual, exp_ratio=layer.expansion)
    module = block(
        layer.in_channels,
        layer.out_channels,
        dw_kernel_size=layer.kernel,
        stride=layer.stride,
        noskip=not layer.has_residual,
        act_layer=nn.Hardswish,
        se_layer=squeeze_excite if layer.squeeze_excite else None,
    )
    # timm's pad_type would pad the block's 1x1 convolutions too.
    module.conv_dw.padding = (layer.padding, layer.padding)
    return module


def build_layers(layers: Sequence[Layer]) -> nn.Sequential:
    """Build layers that follow one another."""
    return nn.Sequential(*(build_layer(layer) for layer in layers))
