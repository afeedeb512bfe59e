"""Softmax in parts against softmax at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.labeling.teachers import pixels
from fbnetv5.labeling.teachers.pixels import likeliest


@pytest.mark.parametrize("chunk_bytes", [1, 50_000, 2**27])
@pytest.mark.parametrize("size", [(30, 40), (90, 70), (13, 9)])
def test_classes_and_probabilities_are_those_of_all_logits_at_once(monkeypatch, chunk_bytes, size):
    monkeypatch.setattr(pixels, "CHUNK_BYTES", chunk_bytes)
    logits = 20 * torch.randn(200, 30, 40, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0].softmax(0).max(0)
    labels, scores = likeliest(logits, size)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), expected.indices)
    torch.testing.assert_close(scores, expected.values, atol=1e-5, rtol=1e-4)
