"""From class scores to the likeliest class of every pixel of the stored image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import Size
from fbnetv5.heads.lite_maskformer.semantic import CHUNK_BYTES


def likeliest(logits: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Return the likeliest class of every pixel, uint8 [H, W], and its softmax probability, float32 [H, W].

    Logits are resized bilinearly, a few classes at a time: all of a large photograph's would take gigabytes.

    Args:
        logits: [K, h, w], K at most 255.
        size: (height, width) of the stored image.
    """
    logits = logits.float()
    chunk = max(1, CHUNK_BYTES // (size[0] * size[1] * logits.element_size()))
    best = logits.new_full(size, -torch.inf)
    log_total = logits.new_full(size, -torch.inf)
    labels = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for start in range(0, len(logits), chunk):
        resized = logits[None, start : start + chunk]
        if resized.shape[-2:] != size:
            resized = F.interpolate(resized, size=size, mode="bilinear", align_corners=False)
        highest, positions = resized[0].max(dim=0)
        labels = torch.where(highest > best, (positions + start).to(torch.uint8), labels)
        best = torch.maximum(best, highest)
        log_total = torch.logaddexp(log_total, resized[0].logsumexp(dim=0))
    return labels, (best - log_total).exp().clamp_max(1)
