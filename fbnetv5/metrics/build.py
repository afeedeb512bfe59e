"""The metric of each kind of target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.metrics.accuracy import Accuracy
from fbnetv5.metrics.coco_ap import CocoAP
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.keypoints import KeypointMetrics
from fbnetv5.metrics.segmentation import SegmentationIoU


def build_evaluator(target: Target, classes: tuple[str, ...], coco_json: Path | None = None) -> Evaluator:
    """Return the evaluator for a target.

    Args:
        target: what is predicted.
        classes: its class names, in the order of their ids.
        coco_json: for BOXES and KEYPOINTS, the split's own COCO file, whose crowd regions, areas and head sizes then
            count.

    Raises:
        InputError: there is no metric for this kind of target, or the file is malformed.
    """
    evaluators: dict[TargetKind, Callable[[], Evaluator]] = {
        TargetKind.SCALAR: lambda: Accuracy(target, classes),
        TargetKind.BOXES: lambda: CocoAP(target, classes, coco_json),
        TargetKind.KEYPOINTS: lambda: KeypointMetrics(target, classes, coco_json),
        TargetKind.MASK: lambda: SegmentationIoU(target, classes),
    }
    if target.kind not in evaluators:
        raise InputError(f"target '{target.name}': there is no metric for targets of kind '{target.kind.value}'")
    return evaluators[target.kind]()
