"""COCO's protocol of average precision and recall, for boxes and for keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster


def coco_of(annotations: Sequence[dict[str, Any]], *, num_images: int, num_categories: int) -> COCO:
    """Return annotations of images and categories that are numbered from 1."""
    content = {
        "images": [{"id": number} for number in range(1, num_images + 1)],
        "categories": [{"id": number} for number in range(1, num_categories + 1)],
        "annotations": list(annotations),
    }
    return COCO(content, print_function=_mute)


def precision_and_recall(
    truth: COCO, found: COCO, kind: str, sigmas: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return COCO's tables, in which -1 is undefined: precision [IoU, recall, class, area, detections], recall without
    its second axis.

    Args:
        truth: annotated.
        found: detections, with scores.
        kind: ``bbox`` or ``keypoints``.
        sigmas: of the keypoints.
    """
    given = None if sigmas is None else list(sigmas)
    evaluation = COCOeval_faster(truth, found, kind, print_function=_mute, kpt_oks_sigmas=given)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def defined_means(parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the mean of each part of the tables over what is defined in it; what has nothing is left out."""
    return {name: float(part[part > -1].mean()) for name, part in parts.items() if (part > -1).any()}


def _mute(*_: object) -> None:
    """Print nothing."""
