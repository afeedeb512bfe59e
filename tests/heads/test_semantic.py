"""Semantic inference against the formula that holds all scores at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.heads import pixel_classes
from fbnetv5.heads.lite_maskformer.semantic import semantic_map


@pytest.mark.parametrize("chunk_bytes", [1, 20_000, 2**27])
@pytest.mark.parametrize("output_size", [(41, 57), (90, 100), (20, 31)])
def test_map_is_the_arg_max_of_all_scores_at_once(monkeypatch, chunk_bytes, output_size):
    """Masks to the padded image, scores, crop, resize, arg max: as MaskFormer does it."""
    monkeypatch.setattr(pixel_classes, "CHUNK_BYTES", chunk_bytes)
    generator = torch.Generator().manual_seed(0)
    class_logits, mask_logits = torch.randn(6, 12, generator=generator), torch.randn(6, 8, 8, generator=generator)
    masks = F.interpolate(mask_logits[None], size=(64, 64), mode="bilinear", align_corners=False).sigmoid()[0]
    scores = torch.einsum("qk,qhw->khw", class_logits.softmax(-1)[:, :-1], masks)[:, :41, :57]
    scores = F.interpolate(scores[None], size=output_size, mode="bilinear", align_corners=False)[0]
    found, probabilities = semantic_map(
        class_logits, mask_logits, image_size=(64, 64), true_size=(41, 57), output_size=output_size
    )
    assert found.dtype == torch.uint8
    assert found.shape == output_size
    differing = found.long() != scores.argmax(dim=0)
    best = scores.topk(2, dim=0).values
    assert (best[0] - best[1])[differing].le(1e-6).all()  # but for ties within rounding
    assert differing.float().mean() < 0.001
    torch.testing.assert_close(probabilities, best[0] / scores.sum(dim=0))


def test_classes_beyond_127_survive():
    class_logits = torch.full((1, 201), -20.0)
    class_logits[0, 199] = 20
    found, _ = semantic_map(class_logits, torch.zeros(1, 2, 2), image_size=(8, 8), true_size=(8, 8), output_size=(8, 8))
    assert found.unique().tolist() == [199]
