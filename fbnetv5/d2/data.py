"""Our multitask index in Detectron2's catalogs, and what Detectron2 has registered as a source of images for us.

An image of the index becomes Detectron2's dictionary. As in the index, a missing key means "not labelled for this", and
an empty list of ``annotations`` "nothing there":

=====================  ========================================================================
key                    holds
=====================  ========================================================================
file_name, image_id    the image, and its row in the index
height, width          in pixels, where the index knows them
annotations            boxes: ``bbox`` x1 y1 x2 y2, ``bbox_mode`` XYXY_ABS, ``category_id``, ``iscrowd``
sem_seg_file_name      segmentation: a PNG of class ids, 255 = ignore
label                  label: a class id
frame                  "stored" where that is the frame of the labels of images with an EXIF orientation
=====================  ========================================================================

Class names stand in the metadata, under ``thing_classes``, ``stuff_classes`` and ``label_classes``. Dense maps are left
out, for which Detectron2 has no place, and keypoints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fbnetv5.d2
import fbnetv5.d2.mapper  # adds our mapper to D2Go's registry
from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import local_path
from fbnetv5.base.types import BOXES, IGNORE, LABEL, SEGMENTATION, Target
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.images import image_header
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.orientation import STORED, turned_size
from fbnetv5.data.sources import in_frames

try:
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.structures import BoxMode
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error

TARGETS = (LABEL, BOXES, SEGMENTATION)
CLASSES = {LABEL: "label_classes", BOXES: "thing_classes", SEGMENTATION: "stuff_classes"}  # keys of the metadata
KEYS = {LABEL: "label", BOXES: "annotations", SEGMENTATION: "sem_seg_file_name"}  # keys of an image's dictionary
EVALUATORS = {BOXES: "coco", SEGMENTATION: "sem_seg", LABEL: "accuracy"}  # of several, the first
THEIR_MAPPER, OUR_MAPPER = "D2GoDatasetMapper", "MultitaskDatasetMapper"
LEARNT = {"FBNetV5Segmentation": "segmentation", "FBNetV5Classification": "label", "FBNetV5Supernet": None}


def register_index(
    name: str,
    index: str | Path,
    *,
    root: str | Path | None = None,
    images: str | Path | None = None,
    only: str | None = None,
) -> None:
    """Register a multitask index in Detectron2's catalogs; its dictionaries are made when they are asked for.

    Args:
        name: of the data set.
        index: a parquet file.
        root: the folder that the paths in it are relative to; by default the one that it lies in.
        images: the folder that the paths of its images are relative to, where that is another one.
        only: leave out images without this target: label, boxes or segmentation. Detectron2's own loader and its
            evaluators want it where images are labelled in part.

    Raises:
        InputError: the index or a folder is missing or wrong, or no image has the target.
    """
    file = local_path(index).absolute()
    top = Path(root or file.parent)
    source = in_frames(DataConfig(), "val", Index.read(file, top), top, top if images is None else Path(images))
    targets = [target for target in TARGETS if target.name in source.classes]
    wanted = [target for target in TARGETS if target.name == only]
    if only is not None and (not wanted or source.num_labelled(only) == 0):
        raise InputError(f"{file}: no image is labelled with '{only}', and only those were asked for")
    DatasetCatalog.register(name, functools.partial(_dictionaries, source, only))
    metadata = MetadataCatalog.get(name)
    metadata.set(**{CLASSES[target]: list(source.classes[target.name]) for target in targets})
    if SEGMENTATION in targets:
        metadata.set(ignore_label=IGNORE)
    measured = [name for target, name in EVALUATORS.items() if target in (wanted or targets)]
    if measured:
        metadata.set(evaluator_type=measured[0])


def register_datasets(cfg: Any) -> None:
    """Register every ``*.parquet`` that ``DATASETS.TRAIN`` and ``DATASETS.TEST`` name as an index in its own folder.

    Of these, the images that the meta-architecture learns from are taken; the supernet takes all. In ``cfg`` a name
    takes the file's place, as results are written to folders of that name. What is registered already stays as it is.

    Raises:
        InputError: as :func:`register_index`.
    """
    only = LEARNT.get(cfg.MODEL.META_ARCHITECTURE, BOXES.name)
    was_frozen = cfg.is_frozen()
    cfg.defrost()
    named = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    mapper = cfg.get("D2GO_DATA", {}).get("MAPPER")
    if mapper is not None and mapper.NAME == THEIR_MAPPER and any(name.endswith(".parquet") for name in named):
        mapper.NAME = OUR_MAPPER  # theirs turns all photos upright, whatever frame labels are in
    for split in ("TRAIN", "TEST"):
        cfg.DATASETS[split] = tuple(_registered_name(name, only) for name in cfg.DATASETS[split])
    if was_frozen:
        cfg.freeze()


def source_from_catalog(*names: str, data: DataConfig | None = None) -> IndexSource:
    """Return the images of registered data sets as a source for our own jobs.

    Boxes of COCO files, masks of sem_seg folders and labels as above are read; crowd regions count in evaluation alone,
    and boxes without area are left out, as everywhere in our data. ``.index.write(file)`` of the result makes an index
    that ``data.train.index`` takes.

    Args:
        names: of the data sets.
        data: its ``exif``, ``mask_values`` and ``mask_ignore`` say how images and masks are read; else as they are.

    Raises:
        InputError: a name is not registered, an image is listed twice, the data sets' class names differ or are
            missing, or what is ignored is not 255.
    """
    for name in names:
        if name not in DatasetCatalog.list():
            raise InputError(f"Detectron2 knows no data set '{name}'; register it before, or name a .parquet file")
    dictionaries = [dictionary for name in names for dictionary in DatasetCatalog.get(name)]
    targets = [target for target in TARGETS if any(KEYS[target] in dictionary for dictionary in dictionaries)]
    classes = {target.name: _common_classes(names, target) for target in targets}
    if SEGMENTATION in targets:
        _check_ignored(names)
    origin = f"data set {' + '.join(names)}"
    index = Index.from_rows(map(_row, dictionaries), targets, classes, origin)
    return in_frames(data or DataConfig(), "train", index, Path("/"), Path("/"))


def _registered_name(name: str, only: str | None) -> str:
    """Return the name of a data set; a file's has no slashes, and says what images of it are taken."""
    if not name.endswith(".parquet") or name in DatasetCatalog.list():
        return name
    parts = Path(name).expanduser().resolve().with_suffix("").parts[1:]  # whole, or two files might get one name
    registered = "__".join((*parts, *filter(None, [only])))
    if registered not in DatasetCatalog.list():
        register_index(registered, name, only=only)
    return registered


def _dictionaries(source: IndexSource, only: str | None) -> list[dict[str, Any]]:
    rows = range(len(source)) if only is None else source.labelled(only)
    table = source.index.table.to_pylist()
    dictionaries = [_dictionary(source, row, table[row]) for row in rows]
    if only not in (None, BOXES.name):  # else Detectron2's loader wants boxes of all, and drops images without
        for dictionary in dictionaries:
            dictionary.pop(KEYS[BOXES], None)
    return dictionaries


def _dictionary(source: IndexSource, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"file_name": str(source.images / row["path"]), "image_id": number}
    if row["width"] is not None and row["height"] is not None:
        result |= {"width": row["width"], "height": row["height"]}
    elif row.get(BOXES.name) is not None and (header := image_header(Path(result["file_name"]))) is not None:
        stored, orientation = header  # Detectron2's evaluator wants it
        width, height = turned_size(stored, orientation) if source.frames.turns(orientation, stored, None) else stored
        result |= {"width": width, "height": height}
    if row.get(BOXES.name) is not None:
        result["annotations"] = [
            {
                "bbox": list(box),
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": label,
                "iscrowd": int(boxes != BOXES.name),
            }
            for boxes, labels in ((BOXES.name, BOXES.labels_key), (BOXES.crowds_key, BOXES.crowd_labels_key))
            for box, label in zip(row[boxes] or (), row[labels] or (), strict=True)
        ]
    if row.get(SEGMENTATION.name) is not None:
        result["sem_seg_file_name"] = str(source.root / row[SEGMENTATION.name])
    if row.get(LABEL.name) is not None:
        result["label"] = row[LABEL.name]
    if not source.frames.upright:
        result["frame"] = STORED
    return result


def _row(dictionary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of the index that one of Detectron2's dictionaries describes; paths become absolute."""
    row: dict[str, Any] = {
        "path": str(Path(dictionary["file_name"]).absolute()),
        "width": dictionary.get("width"),
        "height": dictionary.get("height"),
        LABEL.name: dictionary.get("label"),
    }
    if dictionary.get("sem_seg_file_name") is not None:
        row[SEGMENTATION.name] = str(Path(dictionary["sem_seg_file_name"]).absolute())
    if dictionary.get("annotations") is not None:
        row |= {BOXES.name: [], BOXES.labels_key: []}
        for entry in dictionary["annotations"]:
            box = BoxMode.convert(entry["bbox"], entry["bbox_mode"], BoxMode.XYXY_ABS)
            is_crowd = bool(entry.get("iscrowd", 0))
            if box[2] > box[0] and box[3] > box[1]:
                row.setdefault(BOXES.crowds_key if is_crowd else BOXES.name, []).append(list(box))
                labels = BOXES.crowd_labels_key if is_crowd else BOXES.labels_key
                row.setdefault(labels, []).append(entry["category_id"])
    return row


def _common_classes(names: tuple[str, ...], target: Target) -> list[str]:
    labelled = [name for name in names if any(KEYS[target] in entry for entry in DatasetCatalog.get(name))]
    known = {name: _metadata(name, CLASSES[target]) for name in labelled}
    first = next(iter(known.values()))
    for name, classes in known.items():
        if not classes:
            raise InputError(
                f"the metadata of data set '{name}' has no {CLASSES[target]}; set them when registering it"
            )
        if classes != first:
            raise InputError(f"the {CLASSES[target]} of data set '{name}' are not those of '{labelled[0]}'")
    return list(first)


def _check_ignored(names: tuple[str, ...]) -> None:
    for name in names:
        ignored = _metadata(name, "ignore_label")
        if ignored not in (None, IGNORE):
            raise InputError(
                f"data set '{name}' ignores mask value {ignored}; ours have {IGNORE}, so convert its masks"
            )


def _metadata(name: str, key: str) -> Any:
    get: Callable[[str], Any] = MetadataCatalog.get
    return get(name).get(key)
