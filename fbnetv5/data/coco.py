"""Reads boxes from a COCO json file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco_file import CocoFile, box_of, read_coco_file

logger = logging.getLogger(__name__)


@dataclass
class CocoImage:
    """One image of the file: size, boxes x1 y1 x2 y2 and their class ids, None where it says nothing; and crowds."""

    width: int | None
    height: int | None
    boxes: list[list[float]] | None
    labels: list[int] | None
    crowds: list[list[float]] = field(default_factory=list)
    crowd_labels: list[int] = field(default_factory=list)

    def add(self, box: Sequence[float], label: int) -> None:
        """Add a box, x y width height."""
        self.boxes = [*(self.boxes or []), _corners(box)]
        self.labels = [*(self.labels or []), label]

    def add_crowd(self, box: Sequence[float], label: int) -> None:
        """Add a crowd, x y width height; the image is labelled then."""
        self.boxes, self.labels = self.boxes or [], self.labels or []
        if min(box[2:]) > 0:
            self.crowds.append(_corners(box))
            self.crowd_labels.append(label)


def read_coco(
    path: Path, *, unannotated: Literal["empty", "unlabelled"] = "empty", classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, CocoImage]]:
    """Read the class names and the images of a file, by file name.

    Crowd regions (``iscrowd``) stand apart and boxes without area are left out; an image that has nothing else is
    labelled, with no box. Class ids are positions in the category names, sorted by their id in the file, or in
    ``classes``.

    Args:
        path: of the json file.
        unannotated: what a listed image without annotations is: labelled with nothing there (COCO's convention), or
            unlabelled.
        classes: the class names, where another file (the training split's) has settled them.

    Raises:
        InputError: the file is missing, empty or malformed, lists an image or a category twice, or has annotations of
            unknown images, of unknown categories or without a box.
    """
    file = read_coco_file(path)
    names, label_of = file.labels(classes)
    images = {key: _image(file, entry, unannotated) for key, entry in file.images.items()}
    num_crowds = num_dropped = 0
    for where, annotation in file.annotations():
        image, category = images[file.image_id(annotation, where)], annotation.get("category_id")
        if not isinstance(category, int) or category not in label_of:
            raise InputError(f"{where} has category id {category}, which 'categories' does not list")
        box = box_of(annotation, where)
        if annotation.get("iscrowd"):
            num_crowds += 1
            image.add_crowd(box, label_of[category])
        elif 0 in box[2:]:
            num_dropped += 1
            image.boxes, image.labels = image.boxes or [], image.labels or []
        else:
            image.add(box, label_of[category])
    if num_crowds or num_dropped:
        logger.warning("%s: not learnt from: %d crowd regions, %d boxes without area", path, num_crowds, num_dropped)
    return names, {file.images[key]["file_name"]: image for key, image in images.items()}


def _corners(box: Sequence[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y + height]


def _image(file: CocoFile, entry: Mapping[str, Any], unannotated: str) -> CocoImage:
    labelled = entry.get("labelled")  # which the json of an exported index says
    empty = "boxes" in labelled if isinstance(labelled, list) else unannotated == "empty"
    return CocoImage(*file.image_size(entry), [] if empty else None, [] if empty else None)
