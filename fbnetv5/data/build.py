"""Makes a multitask index of data as people have it: COCO json, mask and depth folders, csv files, class folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.types import BOXES, DEPTH, KEYPOINTS, LABEL, SEGMENTATION, Target
from fbnetv5.data.coco import CocoImage, read_coco
from fbnetv5.data.coco_file import told_size
from fbnetv5.data.folders import class_folders, class_order, find_masks, list_images, read_labels
from fbnetv5.data.images import IMAGE_SUFFIXES, image_header
from fbnetv5.data.index import Index
from fbnetv5.data.index_checks import BORDER_TOLERANCE
from fbnetv5.data.keypoints import read_keypoints
from fbnetv5.data.orientation import swaps
from fbnetv5.data.tars import is_folder


def build_index(
    root: str | Path,
    images: str,
    *,
    labels: str | None = None,
    boxes: str | None = None,
    masks: str | None = None,
    depth_maps: str | None = None,
    keypoints: str | None = None,
    label_classes: Sequence[str] | None = None,
    box_classes: Sequence[str] | None = None,
    mask_classes: Sequence[str] = (),
    keypoint_names: Sequence[str] | None = None,
    depth_scale: float | None = None,
    unannotated: Literal["empty", "unlabelled"] = "empty",
) -> Index:
    """Index the images of one split with any of five kinds of labels; no image is decoded.

    Annotation files name images relative to ``images``; an image that one of them does not name is unlabelled for it.

    Args:
        root: folder that the other paths, and those of the index, are relative to.
        images: folder of images, searched with its subfolders; where there are none, with its tar files.
        labels: csv file with the columns ``file_name`` and ``label``; or ``images`` again, if each class has a folder.
        boxes, keypoints: COCO json files; the second has a category that names its keypoints, and one person an image.
        masks: folder of PNG files named as the images are.
        depth_maps: folder of 16-bit PNG files named likewise, 0 = unknown.
        label_classes: class names in the order of their ids; those of the training split, when this is another. By
            default those found, sorted.
        box_classes, keypoint_names: likewise; by default those of the json file, in the order there.
        mask_classes: class names of the values 0, 1, ... in the masks; 255 is ignored.
        depth_scale: the value in the depth maps that is one metre.
        unannotated: what an image that the json file lists without annotations is.

    Raises:
        InputError: something is missing or wrong; the message names file and image.
    """
    top = Path(root)
    rows = _image_rows(top, images)
    targets: list[Target] = []
    classes: dict[str, Sequence[str]] = {}
    if labels is not None:
        targets.append(LABEL)
        found = class_folders(list(rows)) if Path(labels) == Path(images) else read_labels(top / labels)
        classes["label"] = _add_labels(rows, found, label_classes, str(top / labels))
    if boxes is not None:
        targets.append(BOXES)
        classes["boxes"], annotated = read_coco(top / boxes, unannotated=unannotated, classes=box_classes)
        _add_boxes(rows, annotated, top, str(top / boxes))
    if masks is not None:
        targets.append(SEGMENTATION)
        classes["segmentation"] = _add_masks(rows, top, masks, mask_classes)
    scales: dict[str, float] = {}
    if depth_maps is not None:
        targets.append(DEPTH)
        scales["depth"] = _add_depth_maps(rows, top, depth_maps, depth_scale)
    if keypoints is not None:
        targets.append(KEYPOINTS)
        classes["keypoints"] = _add_keypoints(rows, top / keypoints, keypoint_names)
    return Index.from_rows(rows.values(), targets, classes, str(top / (boxes or keypoints or labels or images)), scales)


def _image_rows(top: Path, images: str) -> dict[str, dict[str, Any]]:
    if not is_folder(top):
        raise InputError(f"{top}: no such data folder")
    return {name: {"path": str(PurePosixPath(images) / name)} for name in list_images(top / images)}


def _add_labels(
    rows: dict[str, dict[str, Any]], found: Mapping[str, str], settled: Sequence[str] | None, origin: str
) -> tuple[str, ...]:
    classes = tuple(settled or class_order(found.values()))
    ids = {name: position for position, name in enumerate(classes)}
    _check_known(rows, found, origin)
    for name, label in found.items():
        if label not in ids:
            raise InputError(f"{origin}: image '{name}': '{label}' is not a class{nearest(label, classes)}")
        rows[name]["label"] = ids[label]
    return classes


def _add_boxes(rows: dict[str, dict[str, Any]], annotated: Mapping[str, CocoImage], top: Path, origin: str) -> None:
    _check_known(rows, annotated, origin)
    for name, image in annotated.items():
        size = (image.width, image.height)
        if None in size:
            size = _size_for(image.boxes or (), top / rows[name]["path"])
        rows[name].update(width=size[0], height=size[1], boxes=image.boxes, box_labels=image.labels)
        if image.crowds:
            rows[name].update(box_crowds=image.crowds, box_crowd_labels=image.crowd_labels)


def _size_for(boxes: Sequence[Sequence[float]], path: Path) -> tuple[int | None, int | None]:
    """Return the (width, height) of the image that boxes are for, upright or as stored; None: it may be either."""
    header = image_header(path)
    if header is None:
        return None, None
    size, orientation = header
    if not swaps(orientation):
        return size
    right, bottom = (max((box[corner] for box in boxes), default=0) - BORDER_TOLERANCE for corner in (2, 3))
    fitting = [found for found in (size, size[::-1]) if right <= found[0] and bottom <= found[1]]
    return (None, None) if len(fitting) == 2 else (fitting or [size])[0]


def _add_masks(rows: dict[str, dict[str, Any]], top: Path, masks: str, classes: Sequence[str]) -> tuple[str, ...]:
    if not classes:
        raise InputError(f"{top / masks}: mask_classes must name the classes of the masks, in order")
    for name, mask in find_masks(top / masks, rows).items():
        rows[name]["segmentation"] = str(PurePosixPath(masks) / mask)
    return tuple(classes)


def _add_depth_maps(rows: dict[str, dict[str, Any]], top: Path, depth_maps: str, scale: float | None) -> float:
    if scale is None:
        raise InputError(
            f"{top / depth_maps}: depth_scale must say which value is one metre (KITTI: 256; millimetres: 1000)"
        )
    for name, depth_map in find_masks(top / depth_maps, rows, what="depth map").items():
        rows[name]["depth"] = str(PurePosixPath(depth_maps) / depth_map)
    return scale


def _add_keypoints(rows: dict[str, dict[str, Any]], path: Path, expected: Sequence[str] | None) -> tuple[str, ...]:
    names, images = read_keypoints(path, classes=expected)
    _check_known(rows, images, str(path))
    for name, image in images.items():
        if (size := told_size(image.entry)) is not None:
            known = rows[name].get("width"), rows[name].get("height")
            if None not in known and known != size:
                raise InputError(
                    f"{path}: image '{name}' has {size[0]}x{size[1]} pixels here, {known[0]}x{known[1]} for its boxes"
                )
            rows[name].update(width=size[0], height=size[1])
        if image.people:
            rows[name]["keypoints"] = [list(point) for point in image.people[0].points]
    return names


def _check_known(rows: Mapping[str, Any], names: Iterable[str], origin: str) -> None:
    for name in names:
        if name not in rows:
            suffix = PurePosixPath(name).suffix.lower()
            other = "" if suffix in IMAGE_SUFFIXES else f"; images are {', '.join(IMAGE_SUFFIXES)}"
            raise InputError(f"{origin}: image '{name}' is not among the images{nearest(name, rows) or other}")
