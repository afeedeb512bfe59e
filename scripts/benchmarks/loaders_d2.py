"""Detectron2's own mapper over a data set, to be timed; imported where Detectron2 is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetMapper, MapDataset, transforms
from detectron2.structures import BoxMode
from PIL import Image


def mapped(entries: Sequence[dict[str, Any]], side: int, crop: int) -> MapDataset:
    """Return a data set of images uint8 with instances and masks, augmented and not normalised.

    Args:
        entries: image, mask, boxes and box_labels of each image.
        side: what the short side becomes, in pixels.
        crop: side of the square that is cut then.
    """
    augmentations = [
        transforms.ResizeShortestEdge(side),
        transforms.RandomCrop("absolute", (crop, crop)),
        transforms.RandomFlip(),
    ]
    mapper = DatasetMapper(is_train=True, augmentations=augmentations, image_format="RGB")
    return MapDataset([_dictionary(entry) for entry in entries], mapper)


def _dictionary(entry: dict[str, Any]) -> dict[str, Any]:
    with Image.open(entry["image"]) as image:
        width, height = image.size
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
        for box, label in zip(entry["boxes"], entry["box_labels"], strict=True)
    ]
    files = {"file_name": str(entry["image"]), "sem_seg_file_name": str(entry["mask"])}
    return {**files, "width": width, "height": height, "annotations": annotations}
