"""The mapper of our multitask data sets: an image and all its labels through Detectron2's augmentations together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fbnetv5.d2
from fbnetv5.base.types import IGNORE
from fbnetv5.data.images import image_header, read_mask, read_stored
from fbnetv5.data.orientation import STORED, Extent, Frames, turn_pixels

try:
    from detectron2.data import detection_utils, transforms
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error


class MultitaskDatasetMapper:
    """From a data set's dictionary to what a model takes, as ``D2GO_DATA.MAPPER.NAME`` or by hand.

    In training, ``instances`` (boxes and classes), ``sem_seg`` (int64 [h, w], 255 = ignore) and ``label`` are there
    where the image is labelled; in evaluation none of them is. Files are read as in our own jobs: palette masks give
    their class ids, and images are turned into the frame of their labels (``data.orientation``).

    Args:
        cfg: of Detectron2 or D2Go; its ``INPUT`` and, in D2Go, ``D2GO_DATA.AUG_OPS`` say how images are augmented.
        is_train: whether labels are read and images are augmented.
        tfm_gens: Detectron2's augmentations, in the place of those of ``cfg.INPUT``.
    """

    def __init__(self, cfg: Any, is_train: bool = True, *, tfm_gens: Sequence[Any] | None = None) -> None:
        chosen = list(detection_utils.build_augmentation(cfg, is_train) if tfm_gens is None else tfm_gens)
        if is_train and cfg.INPUT.CROP.ENABLED:
            chosen.insert(0, transforms.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        self.augmentations = transforms.AugmentationList(chosen)
        self.format = cfg.INPUT.FORMAT
        self.is_train = is_train

    def __call__(self, dictionary: dict[str, Any]) -> dict[str, Any]:
        """Read, augment and convert one image; its ``image`` is uint8 [3, h, w] in the order ``INPUT.FORMAT``.

        Raises:
            InputError: a file cannot be read, or image and mask differ in size.
        """
        result = copy.deepcopy(dictionary)
        pixels = self._read_image(result, self.format)
        detection_utils.check_image_size(result, pixels)
        annotations, mask_file = result.pop("annotations", None), result.pop("sem_seg_file_name", None)
        if not self.is_train:
            result.pop("label", None)
            annotations = mask_file = None
        mask = None if mask_file is None else _mask(Path(mask_file), pixels)
        augmented = transforms.AugInput(pixels, sem_seg=mask)
        applied = self.augmentations(augmented)
        result["image"] = _tensor(augmented.image.transpose(2, 0, 1))
        if mask is not None:
            result["sem_seg"] = _tensor(augmented.sem_seg).long()
        if annotations is not None:
            result["instances"] = _instances(annotations, applied, augmented.image.shape[:2])
        return result

    def _read_image(self, dictionary: dict[str, Any], format: str) -> np.ndarray[Any, Any]:
        """Return the pixels, uint8 [h, w, 3], in the order ``format``; D2Go's pictures of evaluations ask for it."""
        image, orientation = read_stored(Path(dictionary["file_name"]))  # RGB
        frames = Frames(upright=dictionary.get("frame") != STORED)
        labelled = None if orientation == 1 else _labelled_size(dictionary)
        if frames.turns(orientation, (image.shape[2], image.shape[1]), labelled):  # into the frame of its labels
            image = turn_pixels(image, orientation)
        pixels = image.permute(1, 2, 0).numpy()
        return np.ascontiguousarray(pixels[:, :, ::-1] if format == "BGR" else pixels)


def _labelled_size(dictionary: dict[str, Any]) -> Extent | None:
    """Return the (width, height) that an image has for its labels: the dictionary's, else its mask's; or None."""
    if {"width", "height"} <= dictionary.keys():
        return dictionary["width"], dictionary["height"]
    mask = dictionary.get("sem_seg_file_name")
    header = None if mask is None else image_header(Path(mask))
    return None if header is None else header[0]


def _mask(file: Path, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    mask: np.ndarray[Any, Any] = read_mask(file, IGNORE, (pixels.shape[1], pixels.shape[0])).numpy()
    return mask


def _instances(annotations: Sequence[dict[str, Any]], applied: Any, size: tuple[int, int]) -> Any:
    """Return the boxes that are left in the augmented image of ``size`` (height, width); none where none is."""
    moved = [
        detection_utils.transform_instance_annotations(_without_outline(annotation), applied, size)
        for annotation in annotations
        if not annotation.get("iscrowd", 0)
    ]
    return detection_utils.filter_empty_instances(detection_utils.annotations_to_instances(moved, size))


def _without_outline(annotation: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in annotation.items() if key not in ("segmentation", "keypoints")}


def _tensor(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(values))


try:
    from d2go.data.dataset_mappers.build import D2GO_DATA_MAPPER_REGISTRY
except ModuleNotFoundError:  # Detectron2 alone: the mapper is given to a data loader by hand
    pass
else:
    D2GO_DATA_MAPPER_REGISTRY.register(MultitaskDatasetMapper)
