"""The layers of Lite MaskFormer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.heads.lite_maskformer.transformer import DecoderLayer, sine_positions


class PixelDecoder(nn.Module):
    """One 3x3 convolution with group normalisation: a feature to an embedding of every pixel."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(32, channels)
        nn.init.kaiming_uniform_(self.conv.weight, a=1)

    def forward(self, feature: Tensor) -> Tensor:
        """Map [n, in_channels, h, w] to [n, channels, h, w]."""
        return F.relu(self.norm(self.conv(feature)))


class TransformerDecoder(nn.Module):
    """Learnt queries that look at the image in one layer of DETR's decoder."""

    def __init__(self, in_channels: int, channels: int, num_queries: int, hidden_channels: int, dropout: float) -> None:
        super().__init__()
        # BN, because every fusion adds up to four features: at the start they are 100 times what attention can take
        self.project = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm_tokens = nn.BatchNorm2d(channels)
        self.query_positions = nn.Parameter(torch.randn(num_queries, channels))
        self.layer = DecoderLayer(channels, 8, hidden_channels, dropout)
        self.norm = nn.LayerNorm(channels)
        for parameter in self.layer.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.kaiming_uniform_(self.project.weight, a=1)

    def forward(self, feature: Tensor, positions: Tensor | None = None) -> Tensor:
        """Map [n, in_channels, h, w] to embeddings of the segments, [n, Q, channels].

        Args:
            feature: of the path.
            positions: their encoding [h * w, channels], where it is known beforehand.
        """
        tokens = self.norm_tokens(self.project(feature))  # [n, C, h, w]
        channels, height, width = tokens.shape[1:]
        if positions is None:
            positions = sine_positions(height, width, channels, device=tokens.device)
        queries = torch.zeros_like(self.query_positions).expand(len(feature), -1, -1)
        updated = self.layer(queries, self.query_positions, tokens.flatten(2).transpose(1, 2), positions)
        embeddings: Tensor = self.norm(updated)
        return embeddings


class SegmentationModule(nn.Module):
    """Class scores of the segments, and their masks: the products of mask and pixel embeddings."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(channels, num_classes + 1)
        self.embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
        )

    def forward(self, segments: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map segments [n, Q, C] and pixels [n, C, h, w] to logits of classes [n, Q, K + 1] and masks [n, Q, h, w].

        The last class is "no object".
        """
        masks = self.embed(segments) @ pixels.flatten(2)
        return self.classify(segments).float(), masks.unflatten(2, pixels.shape[2:]).float()
