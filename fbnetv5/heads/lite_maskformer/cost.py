"""MACs of Lite MaskFormer in closed form (FBNetV5, Appendix G); pure functions of channels and sizes.

What counts is what counts in ``fbnetv5.archs.cost``. All are MACs an image. Sizes are (height, width), in pixels of the
feature.
"""

from __future__ import annotations

from fbnetv5.archs.cost import conv_cost
from fbnetv5.base.types import Size


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


def _linear_macs(in_channels: int, out_channels: int) -> int:
    return in_channels * out_channels


def _attention_macs(channels: int, num_queries: int, num_keys: int) -> int:
    """MACs of an attention layer: queries and output projected, keys and values projected, scores, weighted sums."""
    projections = (2 * num_queries + 2 * num_keys) * _linear_macs(channels, channels)
    return projections + 2 * num_queries * num_keys * channels
