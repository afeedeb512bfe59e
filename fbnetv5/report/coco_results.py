"""Detections as COCO writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from fbnetv5.metrics.coco_truth import CocoTruth, common_prefix


class Detection(NamedTuple):
    """A class id, a box (x, y, width, height in pixels, to a thousandth) and a score."""

    label: int
    box: list[float]
    score: float


def detections_of(prediction: Mapping[str, Tensor]) -> list[Detection]:
    """Return the detections of one image (``boxes`` x1 y1 x2 y2, ``box_labels``, ``scores``), likeliest first."""
    corners = prediction["boxes"].detach().double().cpu().numpy()
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).round(3).tolist()
    scores = [short(score) for score in prediction["scores"].detach().float().cpu().numpy()]
    found = [Detection(*entry) for entry in zip(prediction["box_labels"].tolist(), boxes, scores, strict=True)]
    return sorted(found, key=lambda detection: -detection.score)


def short(value: np.float32) -> float:
    """Return the number with the fewest digits that is ``value`` in float32."""
    return float(str(value))


def coco_content(
    images: Sequence[tuple[str, Sequence[Detection], tuple[int, int]]],
    classes: Sequence[str],
    file: CocoTruth | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Return the content of a COCO file of detections: ``images``, ``categories``, ``annotations`` with a ``score``.

    Args:
        images: name, detections, (height, width).
        classes: class names.
        file: whose ids images and categories get; what it does not list gets ids above its own. Without it images are
            numbered from 1, and categories are class ids + 1.
    """
    image_ids = _numbered([name for name, _, _ in images], _ids_by_name(images, file))
    category_ids = _numbered(range(len(classes)), file.category_ids if file is not None else {})
    entries: list[dict[str, Any]] = [
        {"image_id": image_ids[name], "category_id": category_ids[label], "bbox": box, "score": score}
        for name, found, _ in images
        for label, box, score in found
    ]
    return {
        "images": [{"id": image_ids[n], "file_name": n, "width": width, "height": h} for n, _, (h, width) in images],
        "categories": [{"id": category_ids[label], "name": name} for label, name in enumerate(classes)],
        "annotations": [
            {"id": key, **entry, "area": round(entry["bbox"][2] * entry["bbox"][3], 3), "iscrowd": 0}
            for key, entry in enumerate(entries, start=1)
        ],
    }


def results_list(content: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the detections of ``coco_content`` as COCO's results: image_id, category_id, bbox, score."""
    keys = ("image_id", "category_id", "bbox", "score")
    return [{key: annotation[key] for key in keys} for annotation in content["annotations"]]


def _ids_by_name(images: Sequence[tuple[str, Any, Any]], file: CocoTruth | None) -> dict[str, int | str]:
    if file is None:
        return {}
    folder = common_prefix([name for name, _, _ in images], file.image_ids)
    return {f"{folder}{name}": key for name, key in file.image_ids.items()}


def _numbered(keys: Sequence[Any], known: Mapping[Any, int | str]) -> dict[Any, int | str]:
    following = max((value for value in known.values() if isinstance(value, int)), default=0) + 1
    ids: dict[Any, int | str] = {}
    for key in keys:
        if key in known:
            ids[key] = known[key]
        else:
            ids[key], following = following, following + 1
    return ids
