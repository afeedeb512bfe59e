"""Classes of pixels, a few at a time, against softmax and arg max of all at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.base.seeding import generator
from fbnetv5.heads import pixel_classes
from fbnetv5.heads.pixel_classes import likeliest_of_logits, likeliest_of_probabilities, likeliest_on_device


@pytest.mark.parametrize("chunk_bytes", [1, 50_000, 2**27])
@pytest.mark.parametrize("size", [(30, 40), (90, 70), (13, 9)])
def test_logits_resized_once(monkeypatch, chunk_bytes, size):
    monkeypatch.setattr(pixel_classes, "CHUNK_BYTES", chunk_bytes)
    logits = 20 * torch.randn(200, 30, 40, generator=generator(0))
    expected = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0].softmax(0).max(0)
    classes, probabilities = likeliest_of_logits(logits, size)
    assert classes.dtype == torch.uint8
    assert torch.equal(classes.long(), expected.indices)
    torch.testing.assert_close(probabilities, expected.values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk_bytes", [1, 60_000, 2**27])
@pytest.mark.parametrize("output_size", [(41, 57), (90, 100), (20, 31)])
def test_logits_of_a_padded_image(monkeypatch, chunk_bytes, output_size):
    monkeypatch.setattr(pixel_classes, "CHUNK_BYTES", chunk_bytes)
    logits = 3 * torch.randn(7, 8, 8, generator=generator(0))
    scores = F.interpolate(logits[None], size=(64, 64), mode="bilinear", align_corners=False)[..., :41, :57]
    scores = F.interpolate(scores, size=output_size, mode="bilinear", align_corners=False)[0]
    classes, probabilities = likeliest_of_logits(logits, output_size, image_size=(64, 64), true_size=(41, 57))
    best, expected = scores.softmax(dim=0).max(dim=0)
    torch.testing.assert_close(probabilities, best)
    assert (classes.long() != expected).float().mean() < 0.001  # ties within rounding
    assert (classes.dtype, classes.shape) == (torch.uint8, output_size)


@pytest.mark.parametrize("chunk_bytes", [1, 2**27])
@pytest.mark.parametrize("size", [(5, 4), (11, 9)])
def test_probabilities(monkeypatch, chunk_bytes, size):
    monkeypatch.setattr(pixel_classes, "CHUNK_BYTES", chunk_bytes)
    probabilities = torch.rand(7, 5, 4, generator=generator(0)).softmax(0)
    best, expected = F.interpolate(probabilities[None], size=size, mode="bilinear")[0].max(0)
    classes, found = likeliest_of_probabilities(probabilities, size)
    assert torch.equal(classes, expected.to(torch.uint8))
    assert torch.equal(found, best)


@pytest.mark.parametrize("num_classes", [1, 2, 7])
@pytest.mark.parametrize("at_a_time", [2, 100])
def test_on_a_device(num_classes: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch):
    size = (24, 40)
    monkeypatch.setattr(pixel_classes, "CHUNK_BYTES", 24 * 40 * 4 * at_a_time)
    logits = 20 * torch.randn(1, num_classes, 6, 10, generator=generator(0))
    expected = F.interpolate(logits, size=size, mode="bilinear")[0].softmax(dim=0)
    found = likeliest_on_device(logits, size)
    assert torch.equal(found["segmentation"], expected.argmax(dim=0).to(torch.uint8))
    torch.testing.assert_close(found["confidence"], expected.amax(dim=0))
