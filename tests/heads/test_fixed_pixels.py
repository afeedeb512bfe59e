"""Pooling and classes of pixels of fixed size compute what torch's operators do."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.base.seeding import generator
from fbnetv5.heads import fixed_pixels
from fbnetv5.heads.fixed_pixels import averaging_weights, grid_averages, likeliest_pixels

BINS = (1, 2, 3, 6)


@pytest.mark.parametrize("size", [(12, 18), (7, 11), (60, 33), (4, 5)])  # multiples, none, smaller than a grid
def test_averages_over_grids_are_adaptive_average_pooling(size: tuple[int, int]):
    feature = torch.randn(1, 5, *size, generator=generator(0))
    rows, columns = (averaging_weights(side, BINS) for side in size)
    for bins, found in zip(BINS, grid_averages(feature, rows, columns, BINS), strict=True):
        torch.testing.assert_close(found, F.adaptive_avg_pool2d(feature, bins), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_classes", [1, 2, 7])
@pytest.mark.parametrize("at_a_time", [2, 100])
def test_the_likeliest_class_and_its_probability(num_classes: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch):
    size = (24, 40)
    monkeypatch.setattr(fixed_pixels, "CHUNK_BYTES", 24 * 40 * 4 * at_a_time)
    logits = 20 * torch.randn(1, num_classes, 6, 10, generator=generator(0))
    expected = F.interpolate(logits, size=size, mode="bilinear")[0].softmax(dim=0)
    found = likeliest_pixels(logits, size)
    assert torch.equal(found["segmentation"], expected.argmax(dim=0).to(torch.uint8))
    torch.testing.assert_close(found["confidence"], expected.amax(dim=0))
