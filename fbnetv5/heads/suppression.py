"""Suppression of boxes of several images at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from fbnetv5.heads.fixed_boxes import overlaps
from fbnetv5.heads.host import to_host

ROUNDS = 8  # between two looks at whether it has ended


def kept(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Return which boxes greedy suppression keeps, bool [n, C]: those that overlap no better one that is kept.

    On a CPU, which nobody waits for, it is torchvision's, an image at a time; elsewhere :func:`kept_together`.

    Args:
        boxes: [n, C, 4] (xyxy), the best first; those that take part have an area.
        valid: bool [n, C], which take part.
        threshold: overlap above which the worse of two boxes is dropped.
    """
    if boxes.device.type != "cpu":
        return kept_together(boxes, valid, threshold)
    scores = torch.arange(boxes.shape[1], 0, -1, dtype=boxes.dtype)
    found = torch.zeros_like(valid)
    for mask, rows, there in zip(found, boxes, valid, strict=True):
        places = there.nonzero()[:, 0]
        mask[places[nms(rows[places], scores[places], threshold)]] = True
    return found


def kept_together(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Return what :func:`kept` does, for all images at once.

    From all boxes on, each round drops those that overlap a better one of the last round's. What a box becomes is
    settled once it is for all better ones, so the rounds end, at greedy suppression's answer. The GPU is asked every
    ``ROUNDS`` of them.
    """
    count = boxes.shape[1]
    better = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    drops = torch.stack([(overlaps(rows, rows) > threshold) & better for rows in boxes])  # [n, C, C]: i drops j
    found = valid
    while True:
        for _ in range(ROUNDS):
            last, found = found, valid & ~(drops & found[:, :, None]).any(dim=1)
        if bool(to_host((last == found).all())):
            return found
