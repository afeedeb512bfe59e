"""Teachers that this package has trained: folders that ``fbnetv5.load`` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, Size, Target
from fbnetv5.heads.head import PixelHead
from fbnetv5.labeling.teacher import Boxes, Pixels
from fbnetv5.labeling.teachers.model_teacher import ModelTeacher, label_by_size
from fbnetv5.model.folder import load_task_model
from fbnetv5.model.photos import pad_image
from fbnetv5.model.task_net import TaskNet


class TrainedBoxes(ModelTeacher):
    """Boxes of a model with a head of detection, of the scores that the head keeps.

    Args:
        model: folder of the trained model.
        precision: float32, or bfloat16 for autocast of the network; the head runs in float32.
        class_map: the model's class: your class, or null to drop it.
        others: classes that ``class_map`` does not name: error, keep or drop.

    Raises:
        InputError: the folder holds no model, or one that finds no boxes.
    """

    model: TaskNet

    def __init__(
        self,
        model: str,
        *,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        network = load_task_model(model)
        _check(network.head.target == BOXES, model, network.head.target, "boxes")
        super().__init__(network, network.classes, precision=precision, class_map=class_map, others=others)

    def __call__(self, images: Sequence[Tensor]) -> list[Boxes]:
        """Find the objects in RGB images, uint8 [3, H, W] of any sizes."""
        prepared = [self.model.spec.input.prepare(image) for image in images]
        inputs = [pad_image(self.model, image) for image in prepared]

        def label(positions: list[int]) -> list[Boxes]:
            with self.computing():
                found = self.model(
                    torch.stack([inputs[p] for p in positions]).to(self.device),
                    true_sizes=[_size(prepared[p]) for p in positions],
                    output_sizes=[_size(images[p]) for p in positions],
                )
            return [self.found_boxes(one["boxes"], one["box_labels"], one["scores"]) for one in found]

        return label_by_size(inputs, label)


class TrainedPixels(ModelTeacher):
    """A class for every pixel, by a model whose head has ``classify``, as Lite MaskFormer; the probabilities are its.

    Args:
        model, precision, class_map, others: as for :class:`TrainedBoxes`.

    Raises:
        InputError: the folder holds no model, or one with another head.
    """

    model: TaskNet

    def __init__(
        self,
        model: str,
        *,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        network = load_task_model(model)
        _check(isinstance(network.head, PixelHead), model, network.head.target, "probabilities of pixels")
        super().__init__(network, network.classes, precision=precision, class_map=class_map, others=others)

    def __call__(self, images: Sequence[Tensor]) -> list[Pixels]:
        """Classify the pixels of RGB images, uint8 [3, H, W] of any sizes."""
        prepared = [self.model.spec.input.prepare(image) for image in images]
        inputs = [pad_image(self.model, image) for image in prepared]

        def label(positions: list[int]) -> list[Pixels]:
            batch = torch.stack([inputs[p] for p in positions]).to(self.device)
            with self.computing():
                features = self.model.network(batch)
            with torch.no_grad():  # the head in full precision, as in TaskNet.forward
                found = self.model.head.classify(  # type: ignore[attr-defined]
                    {path: feature.float() for path, feature in features.items()},
                    _size(batch),
                    [_size(prepared[p]) for p in positions],
                    [_size(images[p]) for p in positions],
                )
            return [self.found_pixels(labels, scores) for labels, scores in found]

        return label_by_size(inputs, label)


def _check(fits: bool, folder: str, target: Target, wanted: str) -> None:
    if not fits:
        raise InputError(f"the model in {folder} predicts {target.name}, without {wanted}; choose another teacher")


def _size(image: Tensor) -> Size:
    return (image.shape[-2], image.shape[-1])
