"""The labels of a split as its files have them, faults and all, for a check; runs read them by ``data.build``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import local_path
from fbnetv5.base.types import TargetKind
from fbnetv5.config.schema import DataConfig, FilesConfig
from fbnetv5.data.coco_file import box_of, key_of, read_coco_file, told_size
from fbnetv5.data.folders import MASK_SUFFIX, class_folders, class_order, list_images, maps_below, read_labels
from fbnetv5.data.index import Index
from fbnetv5.data.keypoints import read_people
from fbnetv5.data.mask_codes import MaskCode, mask_code
from fbnetv5.data.sources import with_local_copies
from fbnetv5.onboarding.findings import Findings
from fbnetv5.onboarding.found import Box

TARGETS = ("label", "boxes", "segmentation", "depth", "keypoints")  # names of those that are looked at


@dataclass
class SplitLabels:
    """What is labelled in a split, by image, which is named as in its files of labels.

    Attributes:
        split: train or val.
        images: where each lies.
        labels, boxes, masks, depth_maps, people: what images are labelled with: a class; boxes; a file; a file;
            keypoints of each person.
        sizes: (width, height) that labels say they are for.
        classes: by target: label, boxes, segmentation, depth (which has none), keypoints.
        code: what the pixels of masks mean.
        depth_scale: the value in depth maps that is one metre.
    """

    split: str
    images: dict[str, Path] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    depth_maps: dict[str, Path] = field(default_factory=dict)
    people: dict[str, list[Any]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    code: MaskCode = field(default_factory=MaskCode)
    depth_scale: float = 1.0

    def labelled(self) -> dict[str, Mapping[str, Any]]:
        """Return what is there by the name of its target, of the targets that the split has labels for."""
        every = (self.labels, self.boxes, self.masks, self.depth_maps, self.people)
        values: dict[str, Mapping[str, Any]] = dict(zip(TARGETS, every, strict=True))
        return {target: values[target] for target in self.classes}


def read_split(data: DataConfig, split: str, files: FilesConfig, findings: Findings) -> SplitLabels:
    """Read the labels of a split; what cannot be read is a finding, and left out."""
    root, files = local_path(str(data.root)).absolute(), with_local_copies(files)
    read = SplitLabels(split, code=mask_code(data.mask_values, data.mask_ignore, len(data.mask_classes)))
    read.depth_scale = data.depth_scale or 1.0
    if files.index is not None:
        _attempt(findings, split, lambda: _read_index(read, root, files, findings))
        return read
    if files.images is None:
        return read
    top = root / files.images
    if not _attempt(findings, split, lambda: read.images.update({name: top / name for name in list_images(top)})):
        return read
    readers: dict[str | None, Callable[[], None]] = {
        files.labels: lambda: _read_classes(read, root, files, findings),
        files.boxes: lambda: _read_boxes(read, root / str(files.boxes), data.unannotated, findings),
        files.masks: lambda: _read_masks(read, root / str(files.masks), data.mask_classes, findings),
        files.depth_maps: lambda: _read_depth_maps(read, root / str(files.depth_maps), findings),
    }
    for place, reader in readers.items():
        if place is not None:
            _attempt(findings, split, reader)
    if files.keypoints is not None:  # may be the file of the boxes again
        _attempt(findings, split, lambda: _read_keypoints(read, root / str(files.keypoints), findings))
    return read


def _attempt(findings: Findings, split: str, reader: Callable[[], object]) -> bool:
    try:
        reader()
    except InputError as error:
        findings.add("unreadable", "file of labels", [str(error)], split=split, stops=True)
        return False
    return True


def _read_index(read: SplitLabels, root: Path, files: FilesConfig, findings: Findings) -> None:
    index = Index.read(root / str(files.index), root)
    top = root / (files.images or ".")
    columns = {name: index.table[name].to_pylist() for name in index.table.column_names}
    names = columns["path"]
    read.images = {name: top / name for name in names}
    sizes = zip(names, columns["width"], columns["height"], strict=True)
    read.sizes = {name: (width, height) for name, width, height in sizes if width and height}
    own = [target.name for target in index.targets if target.name not in TARGETS]
    findings.add("own targets", "targets of your own, which are not looked at", own, split=read.split)
    for target in (target for target in index.targets if target.name in TARGETS):
        classes = index.classes.get(target.name, ())
        given = {name: value for name, value in zip(names, columns[target.name], strict=True) if value is not None}
        if target.kind is TargetKind.SCALAR:
            read.labels = {name: classes[value] for name, value in given.items()}
        elif target.kind is TargetKind.MASK:
            read.masks = {name: root / value for name, value in given.items()}
        elif target.kind is TargetKind.DENSE:
            read.depth_maps = {name: root / value for name, value in given.items()}
            read.depth_scale = index.scales[target.name]
        elif target.kind is TargetKind.KEYPOINTS:
            read.people = {name: [value] for name, value in given.items()}
        elif target.kind is TargetKind.BOXES:
            read.boxes = {name: [] for name in given}
            for boxes, labels in ((target.name, target.labels_key), (target.crowds_key, target.crowd_labels_key)):
                for name, value, ids in zip(names, columns[boxes], columns[labels], strict=True):
                    for (x1, y1, x2, y2), number in zip(value or (), ids or (), strict=True):
                        crowd = boxes == target.crowds_key
                        read.boxes.setdefault(name, []).append(Box(x1, y1, x2, y2, classes[number], crowd))
        read.classes[target.name] = tuple(classes)


def _read_classes(read: SplitLabels, root: Path, files: FilesConfig, findings: Findings) -> None:
    in_folders = PurePosixPath(str(files.labels)) == PurePosixPath(str(files.images))
    found = class_folders(read.images) if in_folders else read_labels(root / str(files.labels))
    read.classes["label"] = class_order(found.values())
    _orphans(read, findings, found, f"images that {files.labels} names are not there")
    read.labels = {name: label for name, label in found.items() if name in read.images}


def _read_boxes(read: SplitLabels, path: Path, unannotated: str, findings: Findings) -> None:
    file = read_coco_file(path)
    names, _ = file.labels()
    label_of = {entry["id"]: entry["name"] for entry in file.categories}
    read.classes["boxes"] = names
    listed = {key: entry["file_name"] for key, entry in file.images.items()}
    _orphans(read, findings, list(listed.values()), f"images that {path.name} lists are not there")
    for entry in file.images.values():
        if entry["file_name"] not in read.images:
            continue
        read.boxes[entry["file_name"]] = []
        if (size := told_size(entry)) is not None:
            read.sizes[entry["file_name"]] = size
    wrong, annotated = [], set()
    for where, entry in file.annotations():
        key, label = key_of(entry, "image_id"), label_of.get(key_of(entry, "category_id"))
        image = None if key is None else listed.get(key)  # 0 may be one
        annotated.add(image)
        try:
            x, y, width, height = box_of(entry, where)
        except InputError as error:
            wrong.append(str(error))
            continue
        if image is None or label is None:
            wrong.append(f"{where} is of an unknown {'image' if image is None else 'category'}")
        elif image in read.boxes:
            crowd = bool(entry.get("iscrowd"))
            read.boxes[image].append(Box(x, y, x + width, y + height, label, crowd))
    if unannotated == "unlabelled":
        read.boxes = {image: boxes for image, boxes in read.boxes.items() if image in annotated}
    findings.add("annotations", "annotations that cannot be read", wrong, split=read.split, stops=True)


def _read_masks(read: SplitLabels, folder: Path, classes: Sequence[str], findings: Findings) -> None:
    read.classes["segmentation"] = tuple(classes)
    read.masks, others = _maps_of(read.images, folder)
    findings.add("masks without images", "masks without an image", others, split=read.split)


def _read_depth_maps(read: SplitLabels, folder: Path, findings: Findings) -> None:
    read.classes["depth"] = ()
    read.depth_maps, others = _maps_of(read.images, folder)
    findings.add("depth maps without images", "depth maps without an image", others, split=read.split)


def _maps_of(images: Iterable[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the PNG file of each image that has one in a folder, and the others there."""
    available = maps_below(folder)
    names = {image: available.get(str(PurePosixPath(image).with_suffix(MASK_SUFFIX))) for image in images}
    found = {image: folder / name for image, name in names.items() if name is not None}
    return found, sorted({*available.values()} - {*names.values()})


def _read_keypoints(read: SplitLabels, path: Path, findings: Findings) -> None:
    names, images, _ = read_people(path)
    read.classes["keypoints"] = names
    _orphans(read, findings, images, f"images that {path.name} lists are not there")
    for name, image in images.items():
        if name in read.images and image.people:
            read.people[name] = [person.points for person in image.people]
        if name in read.images and (size := told_size(image.entry)) is not None:
            read.sizes[name] = size


def _orphans(read: SplitLabels, findings: Findings, names: Mapping[str, Any] | Sequence[str], text: str) -> None:
    missing = [name for name in names if name not in read.images]
    findings.add("labels without images", text, missing, split=read.split, stops=True)
