"""Reads keypoints from a COCO json file, whose categories name them: one person (or thing) an image.

COCO counts from the centre of the first pixel, this program from the image's corner, as for boxes; so half a pixel is
added when keypoints are read, and taken off when they are written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco_file import is_number, read_coco_file

HALF_PIXEL = 0.5
SIDE = re.compile(  # in a name; l and r at its start or end alone: l_eye, LEye, eye.l, eyeL
    r"(?i:left|right)|^[lLrR](?=[\s_.-]|[A-Z][a-z])|(?<=[\s_.-])[lLrR]$|(?<=[a-z])[LR]$"
)
OTHERS = {"left": "right", "right": "left", "l": "r", "r": "l"}
Point = tuple[float, float, int]


@dataclass(frozen=True)
class Person:
    """An annotation with keypoints.

    Attributes:
        points: x, y, visibility of each; x and y from the image's corner, all 0 where a point is unlabelled.
        entry: the annotation, as it stands in the file.
    """

    points: list[Point]
    entry: dict[str, Any]


@dataclass
class PersonImage:
    """An image of the file, as it stands there, and its people who have a labelled keypoint and are no crowd."""

    entry: dict[str, Any]
    people: list[Person]


def read_people(path: Path) -> tuple[tuple[str, ...], dict[str, PersonImage], dict[str, Any]]:
    """Read the names of the keypoints, all images by file name, and the category that has keypoints.

    Other categories are passed over, and so are annotations that are crowds or without a labelled keypoint.

    Raises:
        InputError: the file is missing or malformed, has no category with keypoints or several, lists an image twice,
            or has an annotation of an unknown image or without three numbers a keypoint.
    """
    file = read_coco_file(path)
    category = _category(path, file.categories)
    names = tuple(category["keypoints"])
    images = {key: PersonImage(entry, []) for key, entry in file.images.items()}
    for where, entry in file.annotations():
        if entry.get("category_id") != category["id"]:
            continue
        key = file.image_id(entry, where)
        points = parse_points(entry.get("keypoints"), len(names), where)
        if not entry.get("iscrowd") and any(visibility for _, _, visibility in points):
            images[key].people.append(Person(points, entry))
    return names, {image.entry["file_name"]: image for image in images.values()}, category


def read_keypoints(
    path: Path, *, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, PersonImage]]:
    """Read the names of the keypoints and the images of a file, each with one person, or none: unlabelled.

    Args:
        path: of the json file.
        classes: the names, where another file (the training split's) has settled them.

    Raises:
        InputError: as :func:`read_people`, an image has several people, or the names are not ``classes``.
    """
    names, images, _ = read_people(path)
    if classes is not None and tuple(classes) != names:
        raise InputError(
            f"{path}: the keypoints are {', '.join(names)}, those of the training split {', '.join(classes)}"
        )
    for name, image in images.items():
        if len(image.people) > 1:
            raise InputError(
                f"{path}: image '{name}' shows {len(image.people)} people with keypoints, and should show one; "
                "datasets/prepare_keypoints.py cuts them out"
            )
    return names, images


def parse_points(values: Any, count: int, where: str) -> list[Point]:
    """Return COCO's list of x, y, visibility as points; unlabelled ones are 0, 0, 0.

    Raises:
        InputError: there are not three finite numbers for each of ``count`` points, or a visibility is not 0, 1 or 2.
    """
    if not isinstance(values, list) or len(values) != 3 * count or not all(map(is_number, values)):
        raise InputError(f"{where} needs 'keypoints', {3 * count} numbers: x, y, visibility of {count} points")
    points: list[Point] = []
    for x, y, visibility in zip(values[::3], values[1::3], values[2::3], strict=True):
        if visibility not in (0, 1, 2):
            raise InputError(f"{where}: a keypoint's visibility is {visibility}; it should be 0, 1 or 2")
        points.append((x + HALF_PIXEL, y + HALF_PIXEL, int(visibility)) if visibility else (0.0, 0.0, 0))
    return points


def coco_points(points: Sequence[Sequence[float]]) -> list[float]:
    """Return points (x, y, visibility or score) as COCO's list; those of visibility 0 are 0, 0, 0."""
    rows = [(x - HALF_PIXEL, y - HALF_PIXEL, last) if last else (0.0, 0.0, 0) for x, y, last in points]
    return [value for row in rows for value in row]


def other_side(name: str) -> str:
    """Return the name of what a thing becomes in a mirrored image: R_Eye for L_Eye; its own where it has no side."""
    return SIDE.sub(lambda found: _in_case_of(OTHERS[found[0].lower()], found[0]), name)


def plain_name(name: str) -> str:
    """Return a keypoint's name in small letters, its side written as COCO does: left_shoulder for L_Shoulder."""
    side = SIDE.search(name)
    bare = re.sub(r"[\W_]+", "_", SIDE.sub("_", name)).strip("_").lower()
    if side is None:
        return bare
    return f"{'left' if side[0].lower().startswith('l') else 'right'}_{bare}"


def mirror_order(names: Sequence[str]) -> list[int]:
    """Return, for each point, the position of the one that it becomes in a mirrored image: left_hip's is right_hip's.

    Raises:
        InputError: a point of the left or the right, by its name, has no partner.
    """
    order = []
    for name in names:
        partner = other_side(name)
        if partner not in names:
            raise InputError(
                f"keypoint '{name}' has no '{partner}' to change places with in a mirrored image; name its partner so, "
                "or set data.flip=false"
            )
        order.append(list(names).index(partner))
    return order


def can_mirror(names: Sequence[str]) -> bool:
    """Whether names tell which points change places in a mirrored image: of several, some have a side, and partners."""
    try:
        order = mirror_order(names)
    except InputError:
        return False
    return len(names) == 1 or order != list(range(len(names)))


def _in_case_of(word: str, other: str) -> str:
    if other.isupper():
        return word.upper()
    return word.capitalize() if other[0].isupper() else word


def _category(path: Path, categories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = [entry for entry in categories if entry.get("keypoints")]
    if len(found) != 1:
        raise InputError(f"{path}: {len(found)} categories name 'keypoints'; one must")
    names = found[0]["keypoints"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"{path}: a category's 'keypoints' should be a list of distinct names, not {names}")
    if not isinstance(found[0].get("id"), int):
        raise InputError(f"{path}: the category with 'keypoints' needs a whole number 'id'")
    return found[0]
