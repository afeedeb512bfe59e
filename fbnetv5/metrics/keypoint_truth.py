"""Annotated people as the ground truth of keypoints: with their boxes, areas and head sizes, where they are known.

A file of people that ``datasets/prepare_keypoints.py`` cut out says of each picture which image it comes from
(``source_id``) and where it lay there (``offset``), so that COCO's protocol, which is about images, can be followed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco_file import ImageId, box_of
from fbnetv5.data.keypoints import PersonImage, read_keypoints
from fbnetv5.metrics.coco_truth import common_prefix


class TruePerson(NamedTuple):
    """One annotated person, in pixels of the picture.

    Attributes:
        points: float64 [K, 3]: x, y from the picture's corner, and 0, 1 or 2 (unlabelled, hidden, visible).
        box: x, y, width, height; that of the labelled points where the file has none.
        area: in square pixels; None where the file has none.
        head_size: MPII's, in pixels; None where the file has none.
    """

    points: np.ndarray
    box: tuple[float, ...]
    area: float | None
    head_size: float | None = None


class Place(NamedTuple):
    """The image that a picture was cut from, by its id, and where the picture's corner lay in it (x, y)."""

    image_id: ImageId
    offset: tuple[float, float]


@dataclass(frozen=True)
class KeypointTruth:
    """Annotated people of a file.

    Attributes:
        path: of the file.
        people: of each picture that shows one, by file name.
        places: of all pictures, by file name.
        category_id: in the file.
    """

    path: Path
    people: Mapping[str, TruePerson]
    places: Mapping[str, Place]
    category_id: int

    def prefix(self, names: Collection[str]) -> str:
        """Return the folder that pictures called ``names`` lie in below the file's own names."""
        return common_prefix(names, self.places)


def read_keypoint_truth(path: Path, classes: Sequence[str]) -> KeypointTruth:
    """Read a file.

    Args:
        path: of the file.
        classes: the names that its keypoints must have.

    Raises:
        InputError: it is missing or malformed, has other names, or several people a picture.
    """
    _, images = read_keypoints(path, classes=classes)
    people = {name: _person(path, name, image) for name, image in images.items() if image.people}
    places = {name: _place(path, name, image.entry) for name, image in images.items()}
    categories = {image.people[0].entry["category_id"] for image in images.values() if image.people}
    return KeypointTruth(path, people, places, min(categories, default=1))


def person_of(points: np.ndarray) -> TruePerson:
    """Return a person of whom only the points [K, 3] are known; box and area are those of the labelled ones."""
    box = _extent(points)
    return TruePerson(points, box, box[2] * box[3])


def _person(path: Path, name: str, image: PersonImage) -> TruePerson:
    (person,) = image.people
    points, entry = np.array(person.points, np.float64), person.entry
    box = box_of(entry, f"{path}: image '{name}'") if "bbox" in entry else _extent(points)
    sizes = [entry.get(key) for key in ("area", "head_size")]
    if not all(size is None or isinstance(size, (int, float)) for size in sizes):
        raise InputError(f"{path}: image '{name}': area and head_size should be numbers, not {sizes}")
    return TruePerson(points, box, *sizes)


def _place(path: Path, name: str, entry: Mapping[str, Any]) -> Place:
    offset = entry.get("offset", [0, 0])
    if not isinstance(offset, list) or len(offset) != 2 or not all(isinstance(x, (int, float)) for x in offset):
        raise InputError(f"{path}: image '{name}': 'offset' should be two numbers, not {offset}")
    return Place(entry.get("source_id", entry["id"]), (float(offset[0]), float(offset[1])))


def _extent(points: np.ndarray) -> tuple[float, ...]:
    """Return x, y, width, height of the labelled points; zeros where there is none."""
    labelled = points[points[:, 2] > 0, :2]
    if len(labelled) == 0:
        return 0.0, 0.0, 0.0, 0.0
    low, high = labelled.min(0), labelled.max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
