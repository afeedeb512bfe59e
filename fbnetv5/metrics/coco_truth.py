"""A COCO file as the ground truth of COCO's protocol: with its crowd regions, its areas and its ids.

``data.coco`` reads the same files for training, where crowd regions have no use.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fbnetv5.base.errors import InputError, nearest


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
    """What a COCO file says.

    Attributes:
        path: of the file.
        boxes: of each image, by file name; in the order of the images' ids.
        image_ids: in the file, by file name.
        category_ids: in the file, by class id; a class that the file does not know is missing.
    """

    path: Path
    boxes: Mapping[str, list[TrueBox]]
    image_ids: Mapping[str, int | str]
    category_ids: Mapping[int, int]


def read_coco_truth(path: Path, classes: Sequence[str]) -> CocoTruth:
    """Read a file; its categories are matched with ``classes`` by name.

    Raises:
        InputError: it is missing or malformed, or has a category that is no class.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = sorted(content["images"], key=lambda image: (isinstance(image["id"], str), image["id"]))
        names = {image["id"]: str(image["file_name"]) for image in images}
        labels = {entry["id"]: _label(path, entry["name"], classes) for entry in content["categories"]}
        boxes: dict[str, list[TrueBox]] = {name: [] for name in names.values()}
        for entry in content["annotations"]:
            boxes[names[entry["image_id"]]].append(_true_box(entry, labels))
    except OSError as error:
        raise InputError(f"{path}: cannot read this annotation file: {error.strerror or error}") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a COCO file of boxes: {type(error).__name__}: {error}") from error
    image_ids = {name: key for key, name in names.items()}
    return CocoTruth(path, boxes, image_ids, {label: key for key, label in labels.items()})


def common_prefix(names: Collection[str], listed: Collection[str]) -> str:
    """Return the folder ("" or "folder/") without which most of ``names`` are ``listed``; of equals the shortest.

    The program names images relative to the root of the data, an annotation file relative to the folder of images.
    """
    folders = {"": None} | {f"{p}/": None for name in names for p in list(PurePosixPath(name).parents)[-2::-1]}
    known = set(listed)
    return max(folders, key=lambda folder: (sum(_without(name, folder) in known for name in names), -len(folder)))


def _without(name: str, folder: str) -> str | None:
    return name[len(folder) :] if name.startswith(folder) else None


def _label(path: Path, name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise InputError(f"{path}: category '{name}' is not a class{nearest(name, classes)}")
    return tuple(classes).index(name)


def _true_box(entry: dict[str, Any], labels: Mapping[int, int]) -> TrueBox:
    x, y, width, height = (float(value) for value in entry["bbox"])
    area, is_crowd = float(entry.get("area", width * height)), bool(entry.get("iscrowd", 0))
    return TrueBox((x, y, width, height), labels[entry["category_id"]], area, is_crowd)
