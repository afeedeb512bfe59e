"""Averages over grids in tensor operations of fixed size, for what runs on a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_averages(feature: Tensor, rows: Tensor, columns: Tensor, bins: Sequence[int]) -> list[Tensor]:
    """Return a feature's averages over square grids, [1, C, b, b] for each of the bins: adaptive average pooling.

    A cell's average is a product of a row's and a column's. All grids share two matrix products, and of what those give
    each takes its block.

    Args:
        feature: [1, C, h, w].
        rows: :func:`averaging_weights` of h.
        columns: of w.
        bins: sides of the grids.
    """
    channels, height = feature.shape[1:3]
    # products of batches, here of one: XNNPACK takes no others
    by_column = (feature.flatten(0, 2)[None] @ columns[None]).reshape(channels, height, -1)
    by_cell = by_column.transpose(1, 2).reshape(1, -1, height) @ rows[None]
    cells = by_cell.reshape(1, channels, columns.shape[1], -1).transpose(2, 3)
    starts = [sum(bins[:position]) for position in range(len(bins))]
    return [cells[:, :, i : i + side, i : i + side] for i, side in zip(starts, bins, strict=True)]


def averaging_weights(length: int, bins: Sequence[int]) -> Tensor:
    """Return how much each position of an axis counts in each bin of several grids, [length, sum(bins)].

    As in adaptive average pooling, bin i of b is from ``i * length / b``, rounded down, to ``(i + 1) * length / b``,
    rounded up.
    """
    weights = []
    for num_bins in bins:
        for i in range(num_bins):
            row = torch.zeros(length)
            start, end = i * length // num_bins, -(-(i + 1) * length // num_bins)
            row[start:end] = 1 / (end - start)
            weights.append(row)
    return torch.stack(weights, dim=1)
