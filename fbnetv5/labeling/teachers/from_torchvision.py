"""Teachers from torchvision: any of its detectors and segmenters, with weights from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import functional

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.weights import load_by_name
from fbnetv5.heads.pixel_classes import likeliest_of_logits
from fbnetv5.labeling.teacher import Boxes, Pixels
from fbnetv5.labeling.teachers.model_teacher import ModelTeacher, check_num_classes, label_by_size
from fbnetv5.labeling.teachers.weights import read_state

BACKGROUND = "__background__"
UNUSED_CLASSES = (BACKGROUND, "N/A")  # N/A: gaps in COCO's ids
MAX_ASPECT = 3  # of what a segmenter sees: 520 x 26000 pixels of a panorama would take gigabytes


class TorchvisionBoxes(ModelTeacher):
    """Boxes of a detector of ``torchvision.models.detection``, of the scores that torchvision keeps (0.05 for R-CNN).

    Args:
        builder: name of the model, such as fasterrcnn_resnet50_fpn_v2.
        weights: its state dict, safetensors or a torch file.
        classes: names of the classes 1, 2, ...; by default those that torchvision's own weights know.
        bn_eps: what BN adds to the variance, if not what the builder says; torchvision takes 0 for its own
            COCO_V1 weights of fasterrcnn, maskrcnn, keypointrcnn and retinanet with resnet50_fpn.
        precision: float32, or bfloat16 for autocast.
        class_map: the model's class: your class, or null to drop it.
        others: classes that ``class_map`` does not name: error, keep or drop.

    Raises:
        InputError: there is no such detector, or the weights cannot be read or do not fit it.
    """

    def __init__(
        self,
        builder: str,
        weights: str,
        *,
        classes: Sequence[str] | None = None,
        bn_eps: float | None = None,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        _check_builder(builder, models.detection, "detector")
        names = (BACKGROUND, *classes) if classes else (BACKGROUND, *_categories(builder)[1:])
        network = models.get_model(builder, weights=None, weights_backbone=None, num_classes=len(names))
        _load(network, weights)
        if bn_eps is not None:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = bn_eps
        super().__init__(network, names, precision=precision, class_map=class_map, others=others, unused=UNUSED_CLASSES)

    def __call__(self, images: Sequence[Tensor]) -> list[Boxes]:
        """Find the objects in RGB images, uint8 [3, H, W] of any sizes."""

        def label(positions: list[int]) -> list[Boxes]:
            batch = [images[position].to(self.device).float() / 255 for position in positions]
            with self.computing():
                found = self.model(batch)
            return [self.found_boxes(one["boxes"], one["labels"], one["scores"]) for one in found]

        return label_by_size(images, label)


class TorchvisionPixels(ModelTeacher):
    """A class for every pixel, by a model of ``torchvision.models.segmentation``; the background is a class.

    Images are resized and normalised as torchvision does it for its own weights: to a short side of 520 pixels; but
    to a long side of 1560 at most (3 times that), which torchvision does not bound.

    Args:
        builder: name of the model, such as deeplabv3_resnet50.
        weights: its state dict, safetensors or a torch file.
        classes: names of the classes 0, 1, ...; by default those that torchvision's own weights know.
        precision, class_map, others: as for :class:`TorchvisionBoxes`.

    Raises:
        InputError: there is no such model, or the weights cannot be read or do not fit it.
    """

    def __init__(
        self,
        builder: str,
        weights: str,
        *,
        classes: Sequence[str] | None = None,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        _check_builder(builder, models.segmentation, "segmenter")
        names = tuple(classes or _categories(builder))
        check_num_classes(names)
        network = models.get_model(builder, weights=None, weights_backbone=None, num_classes=len(names))
        _load(network, weights, unused=("aux_classifier.",))  # a head that is for training alone
        self.preset = models.get_model_weights(builder).DEFAULT.transforms()
        (self.short_side,), self.preset.resize_size = self.preset.resize_size, None  # resizing is ours
        super().__init__(network, names, precision=precision, class_map=class_map, others=others)

    def __call__(self, images: Sequence[Tensor]) -> list[Pixels]:
        """Classify the pixels of RGB images, uint8 [3, H, W] of any sizes."""
        inputs = [self.preset(self._resized(image)) for image in images]

        def label(positions: list[int]) -> list[Pixels]:
            with self.computing():
                logits = self.model(torch.stack([inputs[p] for p in positions]).to(self.device))["out"]
            return [
                self.found_pixels(*likeliest_of_logits(one, (images[p].shape[1], images[p].shape[2])))
                for one, p in zip(logits, positions, strict=True)
            ]

        return label_by_size(inputs, label)

    def _resized(self, image: Tensor) -> Tensor:
        """Resize [3, H, W] to a short side of 520 pixels, or to a long side of 1560 where that is smaller."""
        return functional.resize(
            image,
            [self.short_side],
            interpolation=self.preset.interpolation,
            max_size=MAX_ASPECT * self.short_side,
            antialias=self.preset.antialias,
        )


def _check_builder(builder: str, module: ModuleType, kind: str) -> None:
    known = models.list_models(module=module)
    if builder not in known:
        raise InputError(
            f"'{builder}' is no {kind} of torchvision{nearest(builder, known)}; there are {', '.join(known)}"
        )


def _categories(builder: str) -> list[str]:
    """Return the names of the classes that torchvision's own weights know; nothing is downloaded."""
    names: list[str] = models.get_model_weights(builder).DEFAULT.meta["categories"]
    return names


def _load(network: nn.Module, file: str, *, unused: tuple[str, ...] = ()) -> None:
    """Load a state dict; counters of BN, which frozen ones do not have, and names under ``unused`` need not agree."""
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    state = {
        name: value
        for name, value in read_state(file).items()
        if not name.endswith("num_batches_tracked") and not name.startswith(unused)
    }
    load_by_name(network, {**state, **counters}, optional=None, origin=Path(file))
