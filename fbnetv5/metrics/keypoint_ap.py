"""Average precision and recall of keypoints, by COCO's protocol: object keypoint similarity in the place of IoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fbnetv5.data.keypoints import plain_name
from fbnetv5.metrics.coco_protocol import coco_of, defined_means, precision_and_recall
from fbnetv5.metrics.keypoint_truth import Place, TruePerson

SIGMAS = {  # of annotators, as a share of the square root of the person's area (COCO's evaluation)
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
OTHER_SIGMA = 0.066  # of a keypoint that COCO does not have: the mean of its 17
ALL, OKS_50, OKS_75 = slice(None), slice(0, 1), slice(5, 6)  # of 0.5, 0.55, ... 0.95
ANY_AREA, MEDIUM, LARGE = range(3)  # from 32 x 32 pixels, from 96 x 96
NUMBERS = {  # name: is it a precision, at which similarities, for people of which area
    "AP": (True, ALL, ANY_AREA),
    "AP50": (True, OKS_50, ANY_AREA),
    "AP75": (True, OKS_75, ANY_AREA),
    "APm": (True, ALL, MEDIUM),
    "APl": (True, ALL, LARGE),
    "AR": (False, ALL, ANY_AREA),
    "AR50": (False, OKS_50, ANY_AREA),
    "AR75": (False, OKS_75, ANY_AREA),
    "ARm": (False, ALL, MEDIUM),
    "ARl": (False, ALL, LARGE),
}
MIN_SCORE = 0.2  # of a keypoint that counts for the score of its person


class FoundPerson(NamedTuple):
    """A picture: found keypoints float64 [K, 3] (x, y in its pixels, score), the truth, and its place."""

    name: str
    points: np.ndarray
    truth: TruePerson
    place: Place


def sigmas_of(names: Sequence[str]) -> list[float]:
    """Return each keypoint's sigma: COCO's for those that it has, left or right, and their mean for others."""
    bare = (plain_name(name).removeprefix("left_").removeprefix("right_") for name in names)
    return [SIGMAS.get(name, OTHER_SIGMA) for name in bare]


def person_score(points: np.ndarray) -> float:
    """Return the score of a person with keypoints [K, 3]: the mean of those keypoints' scores that are above 0.2."""
    scores = points[:, 2]
    certain = scores[scores > MIN_SCORE]
    return float(certain.mean()) if len(certain) else 0.0


def keypoint_ap(people: Sequence[FoundPerson], sigmas: Sequence[float]) -> dict[str, float]:
    """Return COCO's ten numbers; those that no person defines, such as APm, are left out.

    People of pictures that were cut from the same image are matched in that image, as COCO's protocol has it; people
    that were not cut out, because they have no keypoint or are a crowd, are not known here.

    Args:
        people: whose truth has an area.
        sigmas: of the K keypoints.
    """
    keys = {person.place.image_id for person in people}
    in_order = sorted(keys, key=lambda key: (isinstance(key, str), key))  # it decides between people of equal score
    image_ids = {key: number for number, key in enumerate(in_order, start=1)}
    truth, results = [], []
    for number, person in enumerate(people, start=1):
        entry = {"image_id": image_ids[person.place.image_id], "category_id": 1}
        labelled = int((person.truth.points[:, 2] > 0).sum())
        left, top = person.place.offset
        x, y, width, height = person.truth.box
        truth.append(
            entry
            | {"id": number, "keypoints": _moved(person.truth.points, person.place), "num_keypoints": labelled}
            | {"bbox": [x + left, y + top, width, height], "area": person.truth.area, "iscrowd": 0}
        )
        results.append(entry | {"keypoints": _moved(person.points, person.place), "score": person_score(person.points)})
    return _numbers(truth, results, len(image_ids), sigmas)


def _numbers(
    truth: list[dict[str, Any]], results: list[dict[str, Any]], num_images: int, sigmas: Sequence[float]
) -> dict[str, float]:
    annotated = coco_of(truth, num_images=num_images, num_categories=1)
    precision, recall = precision_and_recall(annotated, annotated.loadRes(results), "keypoints", sigmas)
    slices = {
        name: precision[similarity, :, :, area, :] if is_precision else recall[similarity, :, area, :]
        for name, (is_precision, similarity, area) in NUMBERS.items()
    }
    return defined_means(slices)


def _moved(points: np.ndarray, place: Place) -> list[float]:
    """Return points [K, 3] as COCO's list, in pixels of the image that the picture was cut from."""
    offset = np.array([*place.offset, 0.0])
    return [float(value) for value in (points + offset).reshape(-1)]
