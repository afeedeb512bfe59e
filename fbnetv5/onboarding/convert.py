"""Writes what this program does not read as it is: COCO json, csv files, masks, and indexes of a split."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import csv_lines
from fbnetv5.base.types import BOXES, IGNORE, KEYPOINTS, LABEL, SEGMENTATION
from fbnetv5.data.index import Index
from fbnetv5.data.keypoints import coco_points
from fbnetv5.onboarding.found import Found, MaskFile, Painting
from fbnetv5.onboarding.listing import Listing, below, common_folder
from fbnetv5.onboarding.painting import Tell, write_masks
from fbnetv5.onboarding.survey import Survey

INDEX_TARGETS = {"labels": LABEL, "boxes": BOXES, "masks": SEGMENTATION, "keypoints": KEYPOINTS}
PREFIXES = {"labels": "labels_", "boxes": "instances_", "masks": "masks_", "keypoints": "person_keypoints_"}
MOST_MASK_CLASSES = IGNORE  # class ids are below it
Files = dict[str, str]  # keys and values of a split in a config


def image_folders(survey: Survey) -> dict[str, str] | None:
    """Return the folder of images of each split, None where splits do not lie in folders of their own.

    Or where training images do not show all classes of labels, or where two images differ in their suffix alone, which
    an index can tell apart.
    """
    if survey.split_off or not survey.val:
        return None
    labels, masks = survey.found.get("labels"), survey.found.get("masks")
    if masks is not None and len({_as_png(image) for image in masks.values}) < len(masks.values):
        return None  # two images of one name would share a mask
    if labels and {labels.values[image] for image in survey.train if image in labels.values} != set(labels.classes):
        return None
    tops: dict[str, str] = {}
    for split, images in (("train", survey.train), ("val", survey.val)):
        places = {ready.images for found in survey.found.values() if (ready := _ready(found, split))}
        if len(places) > 1 or not images:
            return None
        tops[split] = places.pop() if places else common_folder(images)
        if not all(_lies_in(image, tops[split]) for image in images):
            return None
    others = {"train": (*survey.val, *survey.test), "val": (*survey.train, *survey.test)}
    if any(_lies_in(image, tops[split]) for split, images in others.items() for image in images):
        return None
    return tops


def needs_folder(survey: Survey) -> bool:
    """Whether anything has to be written beside the configs."""
    if image_folders(survey) is None:
        return True
    return any(_ready(found, split) is None for found in survey.found.values() for split in ("train", "val"))


def write_splits(survey: Survey, folder: Path, link: str, tell: Tell) -> dict[str, Files]:
    """Write what is missing to ``folder``, and return what a config says of each split, train and val.

    Args:
        survey: what was found.
        folder: that is written to.
        link: the folder's path from the data's.
        tell: hears how far the masks are.

    Raises:
        InputError: a file cannot be written, or there are too many classes for masks.
    """
    masks = survey.found.get("masks")
    if masks is not None and len(masks.classes) > MOST_MASK_CLASSES:
        raise InputError(f"{len(masks.classes)} classes of masks; a mask can tell {MOST_MASK_CLASSES}")
    tops = image_folders(survey)
    if tops is None:
        return _write_indexes(survey, folder, link, tell)
    splits: dict[str, Files] = {}
    for split, top in tops.items():
        splits[split] = {"images": top}
        images = survey.train if split == "train" else survey.val
        for target, found in survey.found.items():
            ready = _ready(found, split)
            if ready is not None:
                splits[split][target] = ready.place
            else:
                own = {image: below(image, top) for image in images if image in found.values}
                name = _write_files(survey.listing, found, own, folder, PREFIXES[target] + split, tell)
                splits[split][target] = f"{link}/{name}"
    return splits


def _write_files(listing: Listing, found: Found, names: Mapping[str, str], folder: Path, stem: str, tell: Tell) -> str:
    """Write the labels of images, which have ``names`` there; return the name of the file or folder."""
    if found.target == "masks":
        write_masks(listing, found, {image: _as_png(name) for image, name in names.items()}, folder / stem, tell)
        return stem
    if found.target == "labels":
        rows = [("file_name", "label"), *((name, found.values[image]) for image, name in names.items())]
        (folder / f"{stem}.csv").write_text("".join(csv_lines(rows)), encoding="utf-8")
        return f"{stem}.csv"
    content = _boxes_json(listing, found, names) if found.target == "boxes" else _people_json(listing, found, names)
    (folder / f"{stem}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return f"{stem}.json"


def _boxes_json(listing: Listing, found: Found, names: Mapping[str, str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    ids = {label: number for number, label in enumerate(found.classes, 1)}
    for number, image in enumerate(names, 1):
        for x1, y1, x2, y2, label, crowd in found.values[image]:
            box = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[label], "bbox": box}
            annotations.append({**entry, "area": box[2] * box[3], "iscrowd": int(crowd)})
    categories = [{"id": number, "name": label} for label, number in ids.items()]
    return {"images": _entries(listing, found, names), "annotations": annotations, "categories": categories}


def _people_json(listing: Listing, found: Found, names: Mapping[str, str]) -> dict[str, Any]:
    annotations = []
    for number, image in enumerate(names, 1):
        points = found.values[image]
        shown = [(x, y) for x, y, visibility in points if visibility]
        (left, right), (top, bottom) = ((min(axis), max(axis)) for axis in zip(*shown, strict=True))
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": [left, top, right - left, bottom - top]}
        annotations.append({**entry, "keypoints": coco_points(points), "num_keypoints": len(shown), "iscrowd": 0})
    categories = [{"id": 1, "name": "person", "keypoints": list(found.classes), "skeleton": []}]
    return {"images": _entries(listing, found, names), "annotations": annotations, "categories": categories}


def _entries(listing: Listing, found: Found, names: Mapping[str, str]) -> list[dict[str, Any]]:
    entries = []
    for number, (image, name) in enumerate(names.items(), 1):
        size = found.sizes.get(image) or listing.size(image)
        sides = {} if size is None else {"width": size[0], "height": size[1]}
        entries.append({"id": number, "file_name": name, **sides})
    return entries


def _write_indexes(survey: Survey, folder: Path, link: str, tell: Tell) -> dict[str, Files]:
    """Write an index of each split, for images that do not lie in folders of their own."""
    targets = [INDEX_TARGETS[target] for target in survey.found]
    classes = {INDEX_TARGETS[target].name: found.classes for target, found in survey.found.items()}
    ids = {name: {label: number for number, label in enumerate(found.classes)} for name, found in survey.found.items()}
    masks = _index_masks(survey, folder, link, tell)
    splits = {}
    for split, images in (("train", survey.train), ("val", survey.val)):
        if images:
            rows = [_row(survey, image, masks, ids) for image in images]
            Index.from_rows(rows, targets, classes, split).write(folder / f"{split}.parquet")
            splits[split] = {"index": f"{link}/{split}.parquet"}
    return splits


def _row(survey: Survey, image: str, masks: Mapping[str, str], ids: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    row: dict[str, Any] = {"path": image}
    for target, found in survey.found.items():
        if image not in found.values:
            continue
        value = found.values[image]
        if target == "labels":
            row["label"] = ids[target][value]
        elif target == "masks":
            row["segmentation"] = masks[image]
        elif target == "keypoints":
            row["keypoints"] = [list(point) for point in value]
            row |= _sides(survey, found, image)
        else:
            row |= {"boxes": [], "box_labels": []}
            for box in value:
                boxes, labels = ("box_crowds", "box_crowd_labels") if box.crowd else ("boxes", "box_labels")
                row.setdefault(boxes, []).append(list(box[:4]))
                row.setdefault(labels, []).append(ids[target][box.label])
            row |= _sides(survey, found, image)
    return row


def _sides(survey: Survey, found: Found, image: str) -> dict[str, int]:
    """Return the size of an image that its labels are for."""
    size = found.sizes.get(image) or survey.listing.size(image)
    return {} if size is None else {"width": size[0], "height": size[1]}


def _index_masks(survey: Survey, folder: Path, link: str, tell: Tell) -> dict[str, str]:
    """Return the mask of each image from the data's folder; write those that have to be."""
    found = survey.found.get("masks")
    if found is None:
        return {}
    used = {*survey.train, *survey.val}
    values = {image: value for image, value in found.values.items() if image in used}
    made = {image: f"{image}.png" for image, value in values.items() if _is_made(value)}
    write_masks(survey.listing, found, made, folder / "masks", tell)
    return {image: f"{link}/masks/{made[image]}" if image in made else value.path for image, value in values.items()}


def _is_made(value: MaskFile | Painting) -> bool:
    return isinstance(value, Painting) or value.table is not None or value.colours is not None


def link_to(folder: Path, root: Path) -> str:
    """Return the path of a folder from that of the data: absolute where that is, else relative, free of links."""
    if root.is_absolute():
        return folder.absolute().as_posix()
    return Path(os.path.relpath(os.path.realpath(folder), os.path.realpath(root))).as_posix()


def _ready(found: Found, split: str) -> Any:
    if split == "train" and "train" not in found.ready:
        return found.ready.get("")
    return found.ready.get(split)


def _lies_in(path: str, folder: str) -> bool:
    return folder == "." or path.startswith(f"{folder}/")


def _as_png(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(".png"))
