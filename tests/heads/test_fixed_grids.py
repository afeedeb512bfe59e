"""Pooling over grids of fixed size is adaptive average pooling."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.base.seeding import generator
from fbnetv5.heads.fixed_grids import averaging_weights, grid_averages

BINS = (1, 2, 3, 6)


@pytest.mark.parametrize("size", [(12, 18), (7, 11), (60, 33), (4, 5)])  # multiples, none, smaller than a grid
def test_averages_over_grids_are_adaptive_average_pooling(size: tuple[int, int]):
    feature = torch.randn(1, 5, *size, generator=generator(0))
    rows, columns = (averaging_weights(side, BINS) for side in size)
    for bins, found in zip(BINS, grid_averages(feature, rows, columns, BINS), strict=True):
        torch.testing.assert_close(found, F.adaptive_avg_pool2d(feature, bins), rtol=1e-5, atol=1e-6)
