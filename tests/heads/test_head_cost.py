"""Closed forms of the heads' MACs against fvcore's count of the same layers, built here by hand."""

from __future__ import annotations

import pytest
from torch import Tensor, nn, zeros

from fbnetv5.archs.blocks import build_layers
from fbnetv5.archs.cost import measured_macs
from fbnetv5.heads.lite_maskformer import cost as maskformer_cost
from fbnetv5.heads.lite_rcnn import cost as rcnn_cost


class Decoder(nn.Module):
    """A 1x1 projection and the matrix products of a DETR decoder layer."""

    def __init__(self, in_channels: int, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, channels, 1)
        self.self_attention = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(channels, hidden_channels), nn.Linear(hidden_channels, channels))

    def forward(self, feature: Tensor, queries: Tensor) -> Tensor:
        """Map ``[1, in_channels, H, W]`` and ``[1, Q, channels]`` to ``[1, Q, channels]``."""
        memory = self.project(feature).flatten(2).transpose(1, 2)
        values = queries.clone()  # three times the same tensor would run as one fused operator, which is not counted
        queries = self.self_attention(queries, queries, values)[0]
        return self.feed_forward(self.cross_attention(queries, memory, memory)[0])


class MaskClassifier(nn.Module):
    """Class scores, a mask MLP, and the product with pixel embeddings."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(channels, num_classes + 1)
        self.embed = nn.Sequential(*(nn.Linear(channels, channels) for _ in range(3)))

    def forward(self, queries: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[Q, channels]`` and ``[channels, H * W]`` to ``[Q, num_classes + 1]`` and ``[Q, H * W]``."""
        return self.classify(queries), self.embed(queries) @ pixels


@pytest.mark.parametrize("in_channels", [30, 40])
def test_rpn(in_channels):
    """Three layers of 96 channels, a score and four deltas for each of 15 anchors."""
    head = nn.Sequential(build_layers(rcnn_cost.rpn_layers(in_channels)), nn.Conv2d(96, 75, 1))
    assert measured_macs(head, zeros(1, in_channels, 7, 10)) == rcnn_cost.rpn_macs(in_channels, (7, 10))


@pytest.mark.parametrize("in_channels", [30, 40])
def test_roi(in_channels):
    """Four layers from 6x6 to 3x3, then 81 class scores and 80 x 4 deltas, for each of three proposals."""
    layers = build_layers(rcnn_cost.roi_layers(in_channels))
    pooled = zeros(3, in_channels, 6, 6)
    assert layers(pooled).shape == (3, 160, 3, 3)
    head = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 401))
    assert measured_macs(head, pooled) == rcnn_cost.roi_macs(in_channels, num_proposals=3)


def test_lite_maskformer():
    pixels = nn.Sequential(nn.Conv2d(6, 16, 3, padding=1, bias=False), nn.GroupNorm(4, 16))
    assert measured_macs(pixels, zeros(1, 6, 5, 7)) == maskformer_cost.pixel_decoder_macs(6, (5, 7), channels=16)
    queries = zeros(1, 9, 16)
    assert measured_macs(Decoder(6, 16, 32), zeros(1, 6, 3, 5), queries) == maskformer_cost.transformer_decoder_macs(
        6, (3, 5), channels=16, num_queries=9, hidden_channels=32
    )
    assert measured_macs(MaskClassifier(16, 4), queries[0], zeros(16, 35)) == maskformer_cost.segmentation_module_macs(
        (5, 7), num_classes=4, channels=16, num_queries=9
    )
