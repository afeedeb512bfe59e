"""Reads boxes from a COCO json file (``images``, ``annotations``, ``categories``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fbnetv5.base.errors import InputError, nearest

logger = logging.getLogger(__name__)


@dataclass
class CocoImage:
    """What the file says of one image: its size, boxes x1 y1 x2 y2 and their class ids; None where it says nothing."""

    width: int | None
    height: int | None
    boxes: list[list[float]] | None
    labels: list[int] | None

    def add(self, box: Sequence[float], label: int) -> None:
        """Add a box, x y width height."""
        x, y, width, height = box
        self.boxes = [*(self.boxes or []), [x, y, x + width, y + height]]
        self.labels = [*(self.labels or []), label]


def read_coco(
    path: Path, *, unannotated: Literal["empty", "unlabelled"] = "empty", classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, CocoImage]]:
    """Read the class names and the images of a file, by file name.

    Crowd regions (``iscrowd``) and boxes without area are left out; an image that has nothing else is labelled, with
    no box. Class ids are positions in the category names, sorted by their id in the file, or in ``classes``.

    Args:
        path: of the json file.
        unannotated: what a listed image without annotations is: labelled with nothing there (COCO's convention), or
            unlabelled.
        classes: the class names, where another file (the training split's) has settled them.

    Raises:
        InputError: the file is missing, empty or malformed, lists an image or a category twice, or has annotations of
            unknown images, of unknown categories or without a box.
    """
    content = read_json(path)
    images_by_id, images = _read_images(path, content["images"], unannotated)
    names, label_of = _read_categories(path, content["categories"], classes)
    num_dropped = 0
    for position, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation {annotation.get('id', f'at position {position}')}"
        image_id, category = annotation.get("image_id"), annotation.get("category_id")
        if not isinstance(image_id, (int, str)) or image_id not in images_by_id:
            raise InputError(f"{where} belongs to image id {image_id}, which 'images' does not list")
        if not isinstance(category, int) or category not in label_of:
            raise InputError(f"{where} has category id {category}, which 'categories' does not list")
        box = _box(annotation, where)
        image = images_by_id[image_id]
        if annotation.get("iscrowd") or 0 in box[2:]:
            num_dropped += 1
            image.boxes, image.labels = image.boxes or [], image.labels or []
        else:
            image.add(box, label_of[category])
    if num_dropped:
        logger.warning("%s: left out %d crowd regions or boxes without area", path, num_dropped)
    return names, images


def read_json(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read a COCO file without looking into its entries.

    Raises:
        InputError: it is missing, empty or malformed, or lacks one of COCO's three lists.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read this annotation file: {_one_line(error)}") from error
    if not text.strip():
        raise InputError(f"{path}: the annotation file is empty")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: malformed JSON: {_one_line(error)}") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path}: not a COCO file: it needs a list of objects under '{key}'")
    return content


def _read_images(
    path: Path, entries: list[dict[str, Any]], unannotated: str
) -> tuple[dict[Any, CocoImage], dict[str, CocoImage]]:
    by_id: dict[Any, CocoImage] = {}
    by_name: dict[str, CocoImage] = {}
    for entry in entries:
        name, key, size = entry.get("file_name"), entry.get("id"), (entry.get("width"), entry.get("height"))
        if not isinstance(name, str) or not isinstance(key, (int, str)):
            raise InputError(f"{path}: an entry of 'images' needs 'id' and 'file_name', not {entry}")
        if name in by_name or key in by_id:
            raise InputError(f"{path}: image '{name}' (id {key}) is listed more than once")
        if not all(side is None or (isinstance(side, int) and side > 0) for side in size):
            raise InputError(f"{path}: image '{name}': width and height must be positive whole numbers, not {size}")
        labelled = entry.get("labelled")  # which the json of an exported index says
        empty = "boxes" in labelled if isinstance(labelled, list) else unannotated == "empty"
        by_id[key] = by_name[name] = CocoImage(*size, [] if empty else None, [] if empty else None)
    return by_id, by_name


def _read_categories(
    path: Path, entries: list[dict[str, Any]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Mapping[Any, int]]:
    if not all(isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str) for entry in entries):
        raise InputError(f"{path}: an entry of 'categories' needs a whole number 'id' and a 'name'")
    ordered = sorted(entries, key=lambda entry: entry["id"])
    names = tuple(classes or (entry["name"] for entry in ordered))
    for key in ("id", "name"):
        if len({entry[key] for entry in entries}) < len(entries):
            raise InputError(f"{path}: a category {key} is listed more than once")
    for entry in ordered:
        if entry["name"] not in names:
            raise InputError(f"{path}: category '{entry['name']}' is not a class{nearest(entry['name'], names)}")
    return names, {entry["id"]: names.index(entry["name"]) for entry in ordered}


def _box(annotation: dict[str, Any], where: str) -> list[float]:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, (int, float)) for value in box):
        raise InputError(f"{where} needs a 'bbox' of four numbers (x, y, width, height), not {box}")
    return box


def _one_line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
