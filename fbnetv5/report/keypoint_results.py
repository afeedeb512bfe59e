"""Keypoints as COCO writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fbnetv5.data.keypoints import HALF_PIXEL
from fbnetv5.metrics.keypoint_ap import person_score
from fbnetv5.metrics.keypoint_truth import KeypointTruth, Place

Points = list[list[float]]  # x, y (to a thousandth of a pixel, from the centre of the first), score


def points_of(prediction: Tensor) -> Points:
    """Return the keypoints [K, 3] of one image in COCO's coordinates."""
    points = prediction.detach().double().cpu().numpy()
    located = (points[:, :2] - HALF_PIXEL).round(3)
    return [[x, y, score] for (x, y), score in zip(located.tolist(), points[:, 2].round(4).tolist(), strict=True)]


def keypoint_content(
    pictures: Sequence[tuple[str, Points, tuple[int, int]]], classes: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the content of a COCO file of keypoints, one person a picture, with scores in place of visibilities.

    Args:
        pictures: name, keypoints, (height, width).
        classes: the names of the keypoints.
    """
    return {
        "images": [
            {"id": number, "file_name": name, "width": size[1], "height": size[0]}
            for number, (name, _, size) in enumerate(pictures, start=1)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(classes)}],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, **_annotation(points)}
            for number, (_, points, _) in enumerate(pictures, start=1)
        ],
    }


def keypoint_results(
    pictures: Sequence[tuple[str, Points, tuple[int, int]]], file: KeypointTruth | None = None
) -> list[dict[str, Any]]:
    """Return COCO's list of results: image_id, category_id, keypoints, score.

    Args:
        pictures: name, keypoints, (height, width).
        file: says which image a picture was cut from, and where, so that keypoints are those of the image, with its id;
            pictures that it does not list are left out. Without it pictures are numbered from 1.
    """
    prefix = "" if file is None else file.prefix([name for name, _, _ in pictures])
    results = []
    for number, (name, points, _) in enumerate(pictures, start=1):
        listed = name.removeprefix(prefix)
        if file is not None and listed not in file.places:
            continue
        place = Place(number, (0.0, 0.0)) if file is None else file.places[listed]
        moved = [[round(x + place.offset[0], 3), round(y + place.offset[1], 3), score] for x, y, score in points]
        entry = _annotation(moved)
        results.append(
            {
                "image_id": place.image_id,
                "category_id": 1 if file is None else file.category_id,
                "keypoints": entry["keypoints"],
                "score": entry["score"],
            }
        )
    return results


def _annotation(points: Points) -> dict[str, Any]:
    array = np.array(points)
    low, high = array[:, :2].min(0), array[:, :2].max(0)
    box = [round(float(value), 3) for value in (*low, *(high - low))]
    return {
        "keypoints": [value for point in points for value in point],
        "num_keypoints": len(points),
        "bbox": box,
        "area": round(box[2] * box[3], 3),
        "score": round(person_score(array), 4),
    }
