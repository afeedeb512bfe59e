"""One layer of DETR's transformer decoder, its matrix products written out so that they are counted."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sine_positions(height: int, width: int, channels: int, *, device: torch.device | None = None) -> Tensor:
    """Return DETR's sine encoding of the positions of a grid, [height * width, channels], row by row.

    The first half of the channels encodes the row, the second half the column. A coordinate runs from 1 / size to 1,
    times 2 pi; frequency i of a half is ``10000 ** (-2 i / half)``, and its sine and cosine stand side by side.
    """
    half = channels // 2
    exponents = torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
    encoded = []
    for size in (height, width):
        coordinates = torch.arange(1, size + 1, device=device, dtype=torch.float32) * (2 * math.pi / (size + 1e-6))
        angles = coordinates[:, None] / 10000**exponents  # [size, half / 2]
        encoded.append(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1))
    rows = encoded[0][:, None].expand(height, width, half)
    columns = encoded[1][None].expand(height, width, half)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


class Attention(nn.Module):
    """Multi-head attention.

    Args:
        channels: of queries, keys, values and output.
        num_heads: the channels are divided among them.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, channels: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from ``query`` [n, Q, C] to ``key`` and ``value`` [n, P, C]; returns [n, Q, C]."""
        q, k, v = (
            projection(tensor).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # [n, heads, Q or P, C / heads]
            for projection, tensor in ((self.query, query), (self.key, key), (self.value, value))
        )
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        attended: Tensor = self.output((self.dropout(weights) @ v).transpose(1, 2).flatten(2))
        return attended


class DecoderLayer(nn.Module):
    """DETR's decoder layer: attention among the queries, attention to the image, a feed-forward; norms afterwards.

    Positions are added to what is compared (queries and keys), never to what is passed on (values).

    Args:
        channels: of the queries and the image's tokens.
        num_heads: of both attentions.
        hidden_channels: width of the feed-forward part.
        dropout: probability, at every place where torch's own layer has one.
    """

    def __init__(self, channels: int, num_heads: int, hidden_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(channels, num_heads, dropout)
        self.cross_attention = Attention(channels, num_heads, dropout)
        self.expand = nn.Linear(channels, hidden_channels)
        self.contract = nn.Linear(hidden_channels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, query_positions: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """Update ``queries`` [n, Q, C] from ``tokens`` [n, P, C].

        ``query_positions`` [Q, C] and ``positions`` [P, C] are the same for all n.
        """
        placed = queries + query_positions
        queries = self.norms[0](queries + self.dropout(self.self_attention(placed, placed, queries)))
        attended = self.cross_attention(queries + query_positions, tokens + positions, tokens)
        queries = self.norms[1](queries + self.dropout(attended))
        fed = self.contract(self.dropout(F.relu(self.expand(queries))))
        updated: Tensor = self.norms[2](queries + self.dropout(fed))
        return updated
