"""Agreement of an exported model with the trained one: differences of what they predict, and of their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from fbnetv5.base.types import TargetKind

SAME_BOX = 0.5  # overlap from which two boxes of a class are taken to be of the same object


def agreement(kind: TargetKind, expected: Sequence[Any], found: Sequence[Any]) -> dict[str, float]:
    """Return the largest differences between predictions for the same images.

    Args:
        kind: what is predicted.
        expected: predictions of the trained model, one an image; ``metrics.evaluator`` describes them. Of masks, the
            classes uint8 [H, W] and their probabilities [H, W], in pixels of the input.
        found: of the exported model.

    Returns:
        SCALAR: ``max_score_difference``. BOXES: that, ``max_box_difference`` in pixels, of boxes of one class that
        overlap, and how many have no partner, ``unmatched_boxes``. MASK: ``max_score_difference``, of pixels of one
        class, and ``share_of_pixels_that_differ``. KEYPOINTS: ``max_score_difference``, and ``max_point_difference``
        in pixels, of either coordinate. NaN where a model returned that.
    """
    pairs = list(zip(expected, found, strict=True))
    if kind is TargetKind.SCALAR:
        return {"max_score_difference": _largest((a - b).abs().max() for a, b in pairs)}
    if kind is TargetKind.MASK:
        return _compare_maps(pairs)
    if kind is TargetKind.KEYPOINTS:
        differences = torch.stack([(a - b).abs().amax(dim=0) for a, b in pairs]).amax(dim=0)  # of x, y, score
        return {"max_score_difference": float(differences[2]), "max_point_difference": float(differences[:2].max())}
    rows = [_compare_boxes(a, b) for a, b in pairs]
    scores, boxes, unmatched = zip(*rows, strict=True)
    return {
        "max_score_difference": _largest(scores),
        "max_box_difference": _largest(boxes),
        "unmatched_boxes": float(sum(unmatched)),
    }


def _largest(values: Iterable[Tensor | float]) -> float:
    """Return the largest value; NaN, which the builtin passes over, if there is one."""
    return float(torch.tensor([float(value) for value in values]).max())


def _compare_maps(pairs: Sequence[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]) -> dict[str, float]:
    differing, largest = 0, []
    for (classes, scores), (found_classes, found_scores) in pairs:
        same = classes == found_classes
        differing += int((~same).sum())
        largest.append(((scores - found_scores).abs() * same).max())
    share = differing / sum(classes.numel() for (classes, _), _ in pairs)
    return {"max_score_difference": _largest(largest), "share_of_pixels_that_differ": share}


def _compare_boxes(expected: dict[str, Tensor], found: dict[str, Tensor]) -> tuple[float, float, int]:
    """Return the largest differences of score and of coordinates, and how many boxes have no partner."""
    overlaps = box_iou(expected["boxes"].float(), found["boxes"].float())
    overlaps = overlaps * (expected["box_labels"][:, None] == found["box_labels"][None])
    scores, coordinates = [0.0], [0.0]
    taken: set[int] = set()
    for i, row in enumerate(overlaps):
        distances = (found["boxes"] - expected["boxes"][i]).abs().amax(dim=1)
        open_rows = [j for j in torch.where(row >= SAME_BOX)[0].tolist() if j not in taken]
        if not open_rows:
            continue
        j = min(open_rows, key=lambda j: float(distances[j]))
        taken.add(j)
        coordinates.append(float(distances[j]))
        scores.append(float((found["scores"][j] - expected["scores"][i]).abs()))
    return _largest(scores), _largest(coordinates), len(expected["boxes"]) + len(found["boxes"]) - 2 * len(taken)
