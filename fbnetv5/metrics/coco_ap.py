"""Average precision and recall of detection, by COCO's protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, NothingToRateError
from fbnetv5.base.types import Target, TargetDict
from fbnetv5.metrics.coco_protocol import coco_of, defined_means, precision_and_recall
from fbnetv5.metrics.coco_truth import CocoTruth, TrueBox, common_prefix, read_coco_truth
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.gather import gather_images

ALL_IOUS, IOU_50, IOU_75 = slice(None), slice(0, 1), slice(5, 6)  # of 0.5, 0.55, ... 0.95
ANY_AREA, SMALL, MEDIUM, LARGE = range(4)  # below 32 x 32 pixels, below 96 x 96, above
TOP_1, TOP_10, TOP_100 = range(3)  # detections of a class in an image
NUMBERS = {  # name: is it a precision, at which IoUs, for which objects, among how many detections
    "AP": (True, ALL_IOUS, ANY_AREA, TOP_100),
    "AP50": (True, IOU_50, ANY_AREA, TOP_100),
    "AP75": (True, IOU_75, ANY_AREA, TOP_100),
    "APs": (True, ALL_IOUS, SMALL, TOP_100),
    "APm": (True, ALL_IOUS, MEDIUM, TOP_100),
    "APl": (True, ALL_IOUS, LARGE, TOP_100),
    "AR1": (False, ALL_IOUS, ANY_AREA, TOP_1),
    "AR10": (False, ALL_IOUS, ANY_AREA, TOP_10),
    "AR100": (False, ALL_IOUS, ANY_AREA, TOP_100),
    "ARs": (False, ALL_IOUS, SMALL, TOP_100),
    "ARm": (False, ALL_IOUS, MEDIUM, TOP_100),
    "ARl": (False, ALL_IOUS, LARGE, TOP_100),
}


class Detected(NamedTuple):
    """An image: its detections (boxes float64 [m, 4] x y width height, labels [m], scores [m]) and its true boxes."""

    name: str
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    truth: list[TrueBox]


class CocoAP(Evaluator):
    """COCO's twelve numbers, and ``AP/<class>`` and ``AP50/<class>``.

    A number is left out if there is no object to define it, such as APs without small ones; a class without objects
    is left out of the means. Images without objects count: what is detected in them is wrong.

    Args:
        target: of kind BOXES.
        classes: their names.
        coco_json: the split's own file; what it says of the evaluated images is then the truth, with crowd regions and
            areas. Without it the targets are, with the crowds there, and the area of an object is that of its box.

    Raises:
        InputError: the file is malformed.
    """

    main_metric = "AP"

    def __init__(self, target: Target, classes: Sequence[str], coco_json: Path | None = None) -> None:
        super().__init__(target, classes)
        self._file = read_coco_truth(coco_json, classes) if coco_json else None
        self._images: list[Detected] = []

    def add(self, prediction: Mapping[str, Tensor], target: TargetDict, name: str) -> None:
        boxes, scores = (prediction[key].float().cpu().numpy() for key in ("boxes", "scores"))
        labels = prediction["box_labels"].cpu().numpy()
        if boxes.shape != (len(scores), 4) or len(labels) != len(scores):
            raise ValueError(f"image '{name}': {boxes.shape} boxes, {len(labels)} labels, {len(scores)} scores")
        truth = _truth(target, self.target) if self._file is None else []
        self._images.append(Detected(name, _xywh(boxes), labels, scores, truth))

    def compute(self, world: World) -> dict[str, float]:
        images = gather_images(world, self._images, self.target)
        if self._file is not None:
            images = _with_truth(images, self._file)
        values = summarize(*_evaluate(images, len(self.classes)), self.classes)
        if self.main_metric not in values:
            raise NothingToRateError(
                f"nothing to evaluate: none of {len(images)} images has a true box, so there is no AP"
            )
        return values | {"num_images": float(len(images))}


def summarize(precision: np.ndarray, recall: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Take COCO's numbers from its tables, in which -1 is undefined.

    Args:
        precision: [IoU, recall, class, area, detections].
        recall: [IoU, class, area, detections].
        classes: their names.
    """
    slices = {}
    for name, (is_precision, iou, area, top) in NUMBERS.items():
        slices[name] = precision[iou, :, :, area, top] if is_precision else recall[iou, :, area, top]
    for k, label in enumerate(classes):
        slices[f"AP/{label}"] = precision[:, :, k, ANY_AREA, TOP_100]
        slices[f"AP50/{label}"] = precision[IOU_50, :, k, ANY_AREA, TOP_100]
    return defined_means(slices)


def _evaluate(images: Sequence[Detected], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    truth, detections = [], []
    for image_id, image in enumerate(images, start=1):
        for true in image.truth:
            truth.append(_annotation(image_id, true.label, list(true.box), area=true.area, iscrowd=int(true.is_crowd)))
        for box, label, score in zip(image.boxes.tolist(), image.labels, image.scores, strict=True):
            detections.append(_annotation(image_id, int(label), box, area=box[2] * box[3], score=float(score)))
    return precision_and_recall(
        _coco(truth, len(images), num_classes), _coco(detections, len(images), num_classes), "bbox"
    )


def _coco(annotations: list[dict[str, Any]], num_images: int, num_classes: int) -> COCO:
    numbered = [{"id": key, **annotation} for key, annotation in enumerate(annotations, start=1)]
    return coco_of(numbered, num_images=num_images, num_categories=num_classes)


def _annotation(image_id: int, label: int, box: list[float], **others: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": label + 1, "bbox": box, **others}


def _with_truth(images: Sequence[Detected], file: CocoTruth) -> list[Detected]:
    """Give images the boxes of the file, in its order, which decides between detections of equal score."""
    folder = common_prefix([image.name for image in images], file.boxes)
    by_name = {image.name: image for image in images}
    found = [
        by_name.pop(f"{folder}{name}")._replace(truth=t) for name, t in file.boxes.items() if folder + name in by_name
    ]
    if by_name:
        raise InputError(f"{file.path}: does not list image '{next(iter(by_name))}', which was evaluated")
    return found


def _truth(target: TargetDict, kind: Target) -> list[TrueBox]:
    """Return the boxes and the crowds of an image."""
    truth = []
    for boxes_key, labels_key in ((kind.name, kind.labels_key), (kind.crowds_key, kind.crowd_labels_key)):
        if boxes_key in target:
            boxes, labels = _xywh(target[boxes_key].cpu().numpy()).tolist(), target[labels_key].tolist()
            is_crowd = boxes_key == kind.crowds_key
            truth += [TrueBox(tuple(b), k, b[2] * b[3], is_crowd) for b, k in zip(boxes, labels, strict=True)]
    return truth


def _xywh(boxes: np.ndarray) -> np.ndarray:
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
