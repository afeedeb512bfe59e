"""A COCO file as the ground truth of COCO's protocol: with its crowd regions, its areas and its ids.

``data.coco`` reads the same files for training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco_file import ImageId, box_of, is_number, read_coco_file


@dataclass(frozen=True)
class TrueBox:
    """One annotated box.

    Attributes:
        box: x, y, width, height in pixels.
        label: class id.
        area: in square pixels; of the object's outline where the file has it.
        is_crowd: whether it marks a group, in which detections are neither right nor wrong.
    """

    box: tuple[float, ...]
    label: int
    area: float
    is_crowd: bool = False


@dataclass(frozen=True)
class CocoTruth:
    """Ground truth of a COCO file.

    Attributes:
        path: of the file.
        boxes: of each image, by file name; in the order of the images' ids.
        image_ids: in the file, by file name.
        category_ids: in the file, by class id; a class that the file does not know is missing.
    """

    path: Path
    boxes: Mapping[str, list[TrueBox]]
    image_ids: Mapping[str, ImageId]
    category_ids: Mapping[int, int]


def read_coco_truth(path: Path, classes: Sequence[str]) -> CocoTruth:
    """Read a file; its categories are matched with ``classes`` by name.

    Raises:
        InputError: it is missing or malformed, or has a category that is no class.
    """
    file = read_coco_file(path)
    _, label_of = file.labels(classes)
    ids = sorted(file.images, key=lambda key: (isinstance(key, str), key))
    names = {key: file.images[key]["file_name"] for key in ids}
    boxes: dict[str, list[TrueBox]] = {name: [] for name in names.values()}
    for where, entry in file.annotations():
        boxes[names[file.image_id(entry, where)]].append(_true_box(entry, label_of, where))
    image_ids = {name: key for key, name in names.items()}
    return CocoTruth(path, boxes, image_ids, {label: key for key, label in label_of.items()})


def common_prefix(names: Collection[str], listed: Collection[str]) -> str:
    """Return the folder ("" or "folder/") without which most of ``names`` are ``listed``; of equals the shortest.

    The program names images relative to the root of the data, an annotation file relative to the folder of images.
    """
    known, found = set(listed), Counter({"": 0})
    for name in names:
        places = [0, *(place + 1 for place, letter in enumerate(name) if letter == "/")]
        found.update(name[:place] for place in places if name[place:] in known)
    return max(found, key=lambda folder: (found[folder], -len(folder)))


def _true_box(entry: Mapping[str, Any], label_of: Mapping[int, int], where: str) -> TrueBox:
    box, category = box_of(entry, where), entry.get("category_id")
    if not isinstance(category, int) or category not in label_of:
        raise InputError(f"{where} has category id {category}, which 'categories' does not list")
    area = entry.get("area")
    if area is None:
        area = box[2] * box[3]
    if not is_number(area):
        raise InputError(f"{where}: area should be a number, not {area}")
    return TrueBox(box, label_of[category], float(area), bool(entry.get("iscrowd", 0)))
