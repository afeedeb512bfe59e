"""MACs of the light heads of FBNetV5, Appendix G, in closed form; pure functions of channels and sizes.

What counts is what counts in ``fbnetv5.archs.cost``. All are MACs an image. Sizes are (height, width), in pixels of the
feature. The classifier's cost is ``fbnetv5.archs.cost.classifier_cost``.
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
    predict = _linear_macs(layers[-1].out_channels, (num_classes + 1) + 4 * num_classes)
    return num_proposals * (cost.macs + predict)


def pixel_decoder_macs(in_channels: int, size: Size, *, channels: int = 256) -> int:
    """MACs of Lite MaskFormer's pixel decoder: one 3x3 convolution of a feature of ``size``."""
    return conv_cost(in_channels=in_channels, out_channels=channels, size=size, kernel=3).macs


def transformer_decoder_macs(
    in_channels: int, size: Size, *, channels: int = 256, num_queries: int = 100, hidden_channels: int = 2048
) -> int:
    """MACs of Lite MaskFormer's transformer decoder: a 1x1 projection of a feature of ``size``, one DETR decoder layer.

    ``hidden_channels`` is the width of the layer's feed-forward network. The number of attention heads does not matter.
    """
    num_positions = size[0] * size[1]
    project = num_positions * _linear_macs(in_channels, channels)
    self_attention = _attention_macs(channels, num_queries, num_queries)
    cross_attention = _attention_macs(channels, num_queries, num_positions)
    feed_forward = num_queries * 2 * _linear_macs(channels, hidden_channels)
    return project + self_attention + cross_attention + feed_forward


def segmentation_module_macs(
    size: Size, *, num_classes: int = 150, channels: int = 256, num_queries: int = 100, num_layers: int = 3
) -> int:
    """MACs of Lite MaskFormer's segmentation module on pixel embeddings of ``size``.

    Each query gets class scores, with one for no object, a mask embedding from an MLP of ``num_layers``, and the
    product of that with every pixel embedding.
    """
    classify = _linear_macs(channels, num_classes + 1)
    embed = num_layers * _linear_macs(channels, channels)
    masks = _linear_macs(channels, size[0] * size[1])
    return num_queries * (classify + embed + masks)


def _inverted_residual(in_channels: int, out_channels: int, stride: int, expansion: int, squeeze_excite: bool) -> Layer:
    return Layer("ir", 3, in_channels, out_channels, stride, expansion, squeeze_excite, padding=1)


def _linear_macs(in_channels: int, out_channels: int) -> int:
    return in_channels * out_channels


def _attention_macs(channels: int, num_queries: int, num_keys: int) -> int:
    """MACs of an attention layer: queries and output projected, keys and values projected, scores, weighted sums."""
    projections = (2 * num_queries + 2 * num_keys) * _linear_macs(channels, channels)
    return projections + 2 * num_queries * num_keys * channels
