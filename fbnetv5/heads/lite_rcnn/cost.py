"""MACs of Lite R-CNN in closed form (FBNetV5, Appendix G); pure functions of channels and sizes.

What counts is what counts in ``fbnetv5.archs.cost``. All are MACs an image. Sizes are (height, width), in pixels of the
feature.
"""

from __future__ import annotations

from fbnetv5.archs.cost import conv_cost, layers_cost
from fbnetv5.archs.families import Layer
from fbnetv5.base.types import Size


def rpn_layers(in_channels: int, *, channels: int = 96, num_layers: int = 3) -> tuple[Layer, ...]:
    """Return the inverted residuals of Lite R-CNN's RPN: kernel 3, expansion 3, with squeeze-excitation."""
    widths = (in_channels, *(channels,) * num_layers)
    return tuple(_inverted_residual(width, channels, 1, 3, True) for width in widths[:-1])


def roi_layers(
    in_channels: int,
    *,
    channels: tuple[int, ...] = (128, 128, 128, 160),
    expansions: tuple[int, ...] = (4, 6, 6, 6),
) -> tuple[Layer, ...]:
    """Return the inverted residuals of Lite R-CNN's ROI head: kernel 3, the first of stride 2."""
    widths = (in_channels, *channels)
    strides = (2, *(1,) * (len(channels) - 1))
    return tuple(
        _inverted_residual(width, out_channels, stride, expansion, False)
        for width, out_channels, stride, expansion in zip(widths[:-1], channels, strides, expansions, strict=True)
    )


def rpn_macs(in_channels: int, size: Size, *, num_anchors: int = 15) -> int:
    """MACs of Lite R-CNN's RPN on a feature of ``size``: its layers, then a score and four deltas an anchor."""
    layers = rpn_layers(in_channels)
    cost, size = layers_cost(layers, size)
    predict = conv_cost(in_channels=layers[-1].out_channels, out_channels=5 * num_anchors, size=size)
    return cost.macs + predict.macs


def roi_macs(in_channels: int, *, num_proposals: int = 30, num_classes: int = 80, pooled_size: Size = (6, 6)) -> int:
    """MACs of Lite R-CNN's ROI head: layers on pooled features, then class scores (one for no object) and deltas."""
    layers = roi_layers(in_channels)
    cost, _ = layers_cost(layers, pooled_size)
    predict = layers[-1].out_channels * ((num_classes + 1) + 4 * num_classes)
    return num_proposals * (cost.macs + predict)


def _inverted_residual(in_channels: int, out_channels: int, stride: int, expansion: int, squeeze_excite: bool) -> Layer:
    return Layer("ir", 3, in_channels, out_channels, stride, expansion, squeeze_excite, padding=1)
