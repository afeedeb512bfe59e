"""COCO json files (``images``, ``annotations``, ``categories``) as they stand, with what all readers of them check."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.base.documents import parse_json, read_text, shortened
from fbnetv5.base.errors import InputError, nearest

LISTS = ("images", "annotations", "categories")
ImageId = int | str


@dataclass(frozen=True)
class CocoFile:
    """The content of a file.

    Attributes:
        path: of the file.
        images: the entries of its images, by id, in its order; each has a ``file_name`` of its own.
        categories: the entries of its categories.
        entries: the entries of its annotations.
        others: what else stands beside these three lists.
    """

    path: Path
    images: Mapping[ImageId, dict[str, Any]]
    categories: Sequence[dict[str, Any]]
    entries: Sequence[dict[str, Any]]
    others: Mapping[str, Any]

    def annotations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each annotation, and before it its place, for messages."""
        for position, entry in enumerate(self.entries):
            yield f"{self.path}: annotation {entry.get('id', f'at position {position}')}", entry

    def labels(self, classes: Sequence[str] | None = None) -> tuple[tuple[str, ...], dict[int, int]]:
        """Return the class names, and the class id of each category by its id.

        Args:
            classes: the names, where another file (the training split's) has settled them; by default the categories',
                sorted by id.

        Raises:
            InputError: a category has no name or whole number as id, is listed twice, or is no class.
        """
        entries = self.categories
        if not all(isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str) for entry in entries):
            raise InputError(f"{self.path}: an entry of 'categories' needs a whole number 'id' and a 'name'")
        for key in ("id", "name"):
            if len({entry[key] for entry in entries}) < len(entries):
                raise InputError(f"{self.path}: a category {key} is listed more than once")
        ordered = sorted(entries, key=lambda entry: entry["id"])
        names = tuple(classes or (entry["name"] for entry in ordered))
        for entry in ordered:
            if entry["name"] not in names:
                similar = nearest(entry["name"], names)
                raise InputError(f"{self.path}: category '{entry['name']}' is not a class{similar}")
        return names, {entry["id"]: names.index(entry["name"]) for entry in ordered}

    def image_id(self, annotation: Mapping[str, Any], where: str) -> ImageId:
        """Return the id of an annotation's image. Raises InputError, which starts with ``where``, if it is unknown."""
        key = annotation.get("image_id")
        if not isinstance(key, (int, str)) or key not in self.images:
            raise InputError(f"{where} belongs to image id {key}, which 'images' does not list")
        return key

    def image_size(self, image: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """Return the (width, height) of an image's entry, None where it says nothing.

        Raises:
            InputError: one is no positive whole number.
        """
        size = image.get("width"), image.get("height")
        if not all(side is None or (type(side) is int and side > 0) for side in size):
            where = f"{self.path}: image '{image['file_name']}'"
            raise InputError(f"{where}: width and height must be positive whole numbers, not {size}")
        return size


def read_coco_file(path: Path) -> CocoFile:
    """Read a file.

    Raises:
        InputError: it is missing, empty or malformed, lacks one of COCO's three lists, or lists an image twice or
            without a name.
    """
    content = _read_json(path)
    images: dict[ImageId, dict[str, Any]] = {}
    names = set()
    for entry in content["images"]:
        name, key = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str) or not isinstance(key, (int, str)):
            raise InputError(f"{path}: an entry of 'images' needs 'id' and 'file_name', not {shortened(entry)}")
        if name in names or key in images:
            raise InputError(f"{path}: image '{name}' (id {key}) is listed more than once")
        names.add(name)
        images[key] = entry
    others = {key: value for key, value in content.items() if key not in LISTS}
    return CocoFile(path, images, content["categories"], content["annotations"], others)


def box_of(annotation: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    """Return an annotation's box: x, y, width, height. Raises InputError, which starts with ``where``, without one."""
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise InputError(f"{where} needs a 'bbox' of four numbers (x, y, width, height), not {shortened(box)}")
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def key_of(annotation: Mapping[str, Any], name: str) -> ImageId | None:
    """Return what an annotation has as ``image_id`` or ``category_id``; None where that can be no id."""
    key = annotation.get(name)
    return key if isinstance(key, (int, str)) else None


def told_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the (width, height) of an image's entry; None where it says no two positive whole numbers."""
    width, height = image.get("width"), image.get("height")
    if type(width) is int and type(height) is int and min(width, height) > 0:
        return width, height
    return None


def is_number(value: Any) -> bool:
    """Return whether a value is a number that a finite float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read this annotation file: {_one_line(error)}") from error
    if not text.strip():
        raise InputError(f"{path}: the annotation file is empty")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: malformed JSON: {_one_line(error)}") from error
    for key in LISTS:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path}: not a COCO file: it needs a list of objects under '{key}'")
    return dict(content)


def _one_line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
