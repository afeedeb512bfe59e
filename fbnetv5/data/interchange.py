"""A multitask index as files that other programs read and write, and back: COCO json, csv, PNG.

A folder holds ``instances.json``, COCO's format with all images, boxes and categories; ``labels.csv`` (``<name>.csv``
for other scalar targets) with the columns ``file_name`` and ``label``; and masks and dense maps where the index has
them. What COCO's format has no place for stands in keys of the json that its readers pass over: ``targets`` (kinds,
class names, scales), and of each image ``labelled``, the names of the targets that it is labelled for, and ``files``,
its masks and maps. A category's ``supercategory`` is the target that it belongs to, of boxes or keypoints.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import atomic_folder, csv_lines, write_text
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.data.coco_file import CocoFile, box_of, read_coco_file
from fbnetv5.data.folders import read_labels
from fbnetv5.data.index import Index, class_names
from fbnetv5.data.keypoints import coco_points, parse_points
from fbnetv5.data.tars import source_of

INSTANCES = "instances.json"
IN_FILES = (TargetKind.MASK, TargetKind.DENSE)
ANNOTATED = (TargetKind.BOXES, TargetKind.KEYPOINTS)
KEYPOINTS_LABEL = -1  # in place of a class id: a keypoints target has one category
MAX_SIDE = 2**31 - 1  # pixels; what the index's columns hold
Row = dict[str, Any]


def export_index(index: Index, root: Path, folder: Path) -> None:
    """Write an index and its masks and maps to a new folder; images are neither copied nor read.

    Args:
        index: what to export.
        root: the folder that its masks and maps are relative to.
        folder: what to make; it appears when it is whole.

    Raises:
        InputError: the folder exists or cannot be written, a mask or map is missing or lies outside of ``root``, or
            a class has no name.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another folder")
    with atomic_folder(folder) as temporary:
        write_annotations(index, temporary)
        for target in index.targets:
            if target.kind in IN_FILES:
                for name in index.table[target.name].drop_null().to_pylist():
                    _copy(root, temporary, name)


def write_annotations(index: Index, folder: Path) -> None:
    """Write the json and csv files of an index to a folder.

    Raises:
        InputError: they cannot be written, a class has no name, or two targets share a csv file.
    """
    csv_names = _csv_names(index.targets, index.origin)
    for target in index.targets:
        if "" in index.classes[target.name]:
            raise InputError(f"{index.origin}: a class of '{target.name}' has no name")
    rows = index.table.to_pylist()
    write_text(folder / INSTANCES, json.dumps(_coco(index, rows), allow_nan=False))
    for target, csv_name in csv_names.items():
        names = index.classes[target.name]
        lines = [(row["path"], names[row[target.name]]) for row in rows if row[target.name] is not None]
        write_text(folder / csv_name, "".join(csv_lines([("file_name", "label"), *lines])))


def import_index(folder: Path) -> Index:
    """Read what :func:`export_index` has written, edited or not; its masks and maps are relative to the folder.

    An image that was given a box or a class since is labelled for it.

    Raises:
        InputError: a file is missing or wrong; the message names it.
    """
    path = folder / INSTANCES
    file = read_coco_file(path)
    targets, classes, scales = _targets(path, file.others)
    rows = _image_rows(file, targets)
    _add_annotations(file, rows, {target.name: target for target in targets}, classes)
    by_name = {row["path"]: row for row in rows.values()}
    for target, csv_name in _csv_names(targets, str(path)).items():
        _add_labels(folder / csv_name, by_name, target, classes[target.name])
    return Index.from_rows(rows.values(), targets, classes, str(path), scales)


def _coco(index: Index, rows: Sequence[Row]) -> dict[str, Any]:
    boxed = [target for target in index.targets if target.kind is TargetKind.BOXES]
    keys = [(target.name, label) for target in boxed for label in range(len(index.classes[target.name]))]
    category_of = {key: number for number, key in enumerate(keys, start=1)}
    annotations: list[Row] = []
    for image_id, row in enumerate(rows, start=1):
        for target in boxed:
            for boxes, labels in ((target.name, target.labels_key), (target.crowds_key, target.crowd_labels_key)):
                for box, label in zip(row[boxes] or (), row[labels] or (), strict=True):
                    entry = _annotation(len(annotations) + 1, image_id, category_of[target.name, label], box)
                    annotations.append(entry | {"iscrowd": int(boxes == target.crowds_key)})
    for target in (target for target in index.targets if target.kind is TargetKind.KEYPOINTS):
        category_of[target.name, KEYPOINTS_LABEL] = number = len(category_of) + 1
        for image_id, row in enumerate(rows, start=1):
            if row[target.name] is not None:
                annotations.append(_keypoints(len(annotations) + 1, image_id, number, row[target.name]))
    return {
        "targets": index.describe(),
        "images": [_image(number, row, index.targets) for number, row in enumerate(rows, start=1)],
        "annotations": annotations,
        "categories": [
            {"id": number, "supercategory": name}
            | (
                {"name": name, "keypoints": list(index.classes[name])}
                if label == KEYPOINTS_LABEL
                else {"name": index.classes[name][label]}
            )
            for (name, label), number in category_of.items()
        ],
    }


def _image(number: int, row: Row, targets: Sequence[Target]) -> Row:
    labelled = [target.name for target in targets if row[target.name] is not None]
    files = {target.name: row[target.name] for target in targets if target.kind in IN_FILES}
    return {
        "id": number,
        "file_name": row["path"],
        **{side: row[side] for side in ("width", "height") if row[side] is not None},
        "labelled": labelled,
        "files": {name: place for name, place in files.items() if place is not None},
    }


def _annotation(number: int, image_id: int, category_id: int, box: Sequence[float]) -> Row:
    """COCO's boxes are x y width height; in float64, adding gives back the float32 corner that was subtracted from."""
    width, height = box[2] - box[0], box[3] - box[1]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [box[0], box[1], width, height],
        "area": width * height,
    }


def _keypoints(number: int, image_id: int, category_id: int, points: Sequence[Sequence[float]]) -> Row:
    """COCO's keypoints; adding half a pixel in float64 gives back the float32 that it was subtracted from."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "keypoints": coco_points(points),
        "num_keypoints": sum(visibility > 0 for _, _, visibility in points),
        "iscrowd": 0,
    }


def _copy(root: Path, folder: Path, name: str) -> None:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        raise InputError(f"'{name}' lies outside of {root}; move it there to export it")
    try:
        source = source_of(root / name)
    except FileNotFoundError as error:
        raise InputError(f"{root / name}: no such file, though the index names it") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{root / name}: cannot be read: {error}") from error
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Path):
        shutil.copyfile(source, folder / name)
    else:
        (folder / name).write_bytes(source.getbuffer())


def _csv_names(targets: Sequence[Target], origin: str) -> dict[Target, str]:
    """Return the csv file of each scalar target. Raises InputError where two have the same."""
    scalar = [target for target in targets if target.kind is TargetKind.SCALAR]
    names = {target: "labels.csv" if target.name == "label" else f"{target.name}.csv" for target in scalar}
    if len(set(names.values())) < len(names):
        raise InputError(f"{origin}: the targets 'label' and 'labels' would share the file labels.csv; rename one")
    return names


def _targets(path: Path, content: Mapping[str, Any]) -> tuple[list[Target], dict[str, Sequence[str]], dict[str, float]]:
    try:
        described = content["targets"]
        targets = [Target(name, TargetKind(entry["kind"])) for name, entry in described.items()]
        classes: dict[str, Sequence[str]] = {name: class_names(entry["classes"]) for name, entry in described.items()}
        scales = {name: entry["scale"] for name, entry in described.items() if "scale" in entry}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: 'targets' does not say what the index holds; it is written by an export. COCO files of others "
            "are read as they are: data.train.boxes"
        ) from error
    return targets, classes, scales


def _image_rows(file: CocoFile, targets: Sequence[Target]) -> dict[Any, Row]:
    """Return the rows by image id, with all but boxes, keypoints and classes."""
    rows: dict[Any, Row] = {}
    for key, entry in file.images.items():
        name, files, labelled = (entry.get(k) for k in ("file_name", "files", "labelled"))
        if not isinstance(files, dict) or not isinstance(labelled, list):
            raise InputError(f"{file.path}: image '{name}' needs 'labelled', a list, and 'files', an object")
        size = file.image_size(entry)
        if max(side or 0 for side in size) > MAX_SIDE:
            raise InputError(
                f"{file.path}: image '{name}': width and height must be positive whole numbers up to {MAX_SIDE}, not "
                f"{size}"
            )
        row: Row = {"path": name, "width": size[0], "height": size[1]}
        for target in targets:
            if target.kind is TargetKind.BOXES and target.name in labelled:
                row[target.name], row[target.labels_key] = [], []
            elif target.kind in IN_FILES:
                row[target.name] = place = files.get(target.name)
                if place is not None and not isinstance(place, str):
                    raise InputError(f"{file.path}: image '{name}': 'files' should name its {target.name}, not {place}")
        rows[key] = row
    return rows


def _add_annotations(
    file: CocoFile,
    rows: Mapping[Any, Row],
    targets: Mapping[str, Target],
    classes: Mapping[str, Sequence[str]],
) -> None:
    label_of = _labels_of_categories(file.path, file.categories, targets, classes)
    for where, annotation in file.annotations():
        row, category_id = rows[file.image_id(annotation, where)], annotation.get("category_id")
        if not isinstance(category_id, (int, str)) or category_id not in label_of:
            raise InputError(f"{where} has category id {category_id}, which 'categories' does not list")
        target, label = label_of[category_id]
        if target.kind is TargetKind.KEYPOINTS:
            points = parse_points(annotation.get("keypoints"), len(classes[target.name]), where)
            if annotation.get("iscrowd") or (target.name in row and not _is_seen(points)):
                continue
            if target.name in row and _is_seen(row[target.name]):
                raise InputError(f"{where}: its image has '{target.name}' already, and should show one person")
            row[target.name] = points
            continue
        x, y, width, height = box_of(annotation, where)
        row.setdefault(target.name, [])
        row.setdefault(target.labels_key, [])
        is_crowd = bool(annotation.get("iscrowd"))
        row.setdefault(target.crowds_key if is_crowd else target.name, []).append([x, y, x + width, y + height])
        row.setdefault(target.crowd_labels_key if is_crowd else target.labels_key, []).append(label)


def _is_seen(points: Sequence[Sequence[float]]) -> bool:
    return any(visibility for _, _, visibility in points)


def _labels_of_categories(
    path: Path,
    categories: Sequence[Mapping[str, Any]],
    targets: Mapping[str, Target],
    classes: Mapping[str, Sequence[str]],
) -> dict[Any, tuple[Target, int]]:
    """Return the target and the class id of each category, by its id."""
    label_of: dict[Any, tuple[Target, int]] = {}
    for category in categories:
        owner, name, key = category.get("supercategory", "boxes"), category.get("name"), category.get("id")
        if not isinstance(name, str) or not isinstance(key, (int, str)) or key in label_of:
            raise InputError(f"{path}: an entry of 'categories' needs a 'name' and an 'id' of its own, not {category}")
        target = targets.get(owner) if isinstance(owner, str) else None
        if target is None or target.kind not in ANNOTATED:
            raise InputError(f"{path}: category '{name}': its 'supercategory' is {owner}, which is no target of boxes")
        if target.kind is TargetKind.KEYPOINTS:
            label_of[key] = target, KEYPOINTS_LABEL
            continue
        if name not in classes[target.name]:
            raise InputError(f"{path}: category '{name}' is none of the classes under 'targets'")
        label_of[key] = target, classes[target.name].index(name)
    return label_of


def _add_labels(path: Path, rows: Mapping[str, Row], target: Target, classes: Sequence[str]) -> None:
    for name, label in read_labels(path).items():
        if name not in rows:
            raise InputError(f"{path}: image '{name}' is not listed in {INSTANCES}")
        if label not in classes:
            raise InputError(f"{path}: image '{name}': '{label}' is not a class{nearest(label, classes)}")
        rows[name][target.name] = classes.index(label)
