"""The classifier as a meta-architecture; Detectron2 has no form for a class of the whole image, so this is ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import fbnetv5.d2
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL
from fbnetv5.d2.export import folded
from fbnetv5.d2.task_model import TaskModel, export_config
from fbnetv5.heads.classifier import Classifier
from fbnetv5.heads.label_head import covered_mean

try:
    from d2go.registry.builtin import META_ARCH_REGISTRY as D2GO_META_ARCH_REGISTRY
    from detectron2.modeling import META_ARCH_REGISTRY
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error


@D2GO_META_ARCH_REGISTRY.register()
@META_ARCH_REGISTRY.register()
class FBNetV5Classification(TaskModel):
    """The network of ``MODEL.FBNETV5`` with FBNetV3's classifier for ``MODEL.FBNETV5.NUM_CLASSES`` classes.

    Args:
        cfg: a config with ``MODEL.FBNETV5``.

    Raises:
        InputError: as :class:`TaskModel`.
    """

    head: Classifier
    multiple = 1  # the mean over the image would see the padding

    def __init__(self, cfg: Any) -> None:
        num_classes = cfg.MODEL.FBNETV5.NUM_CLASSES
        if num_classes < 1:
            raise InputError("MODEL.FBNETV5.NUM_CLASSES is 0: give the number of classes")
        super().__init__(cfg, f"{Classifier.__module__}.Classifier", num_classes)
        self.num_classes: int = num_classes

    def forward(self, inputs: Sequence[dict[str, Any]]) -> Any:
        """Return the losses, by name (training), or ``{"scores": probabilities [K]}`` for each image (evaluation).

        Args:
            inputs: ``image`` [3, h, w] in the order of ``INPUT.FORMAT``, 0 to 255, all of one size; in training
                ``label``, an int.

        Raises:
            InputError: the images differ in size, or one of a training has no label.
        """
        if len({tuple(entry["image"].shape) for entry in inputs}) > 1:
            raise InputError("the images of a batch differ in size; resize or crop them to one in INPUT")
        images = self.batch(inputs)
        if not self.training:
            return ToScores()(inputs, images, self.probabilities(images))
        targets = [self._target(entry) for entry in inputs]
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.head(features, (images.shape[-2], images.shape[-1]), targets)

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities of the classes, [N, K], for images [N, 3, H, W] in evaluation."""
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            means = covered_mean(self.head.maps(features), (images.shape[-2], images.shape[-1]), None)
            return self.head.logits(means).softmax(dim=1)  # not a list of images, whose length a trace would fix

    def prepare_for_export(self, cfg: Any, inputs: Any, predictor_type: str) -> Any:
        """Return what D2Go's exporter traces: images to probabilities."""
        return export_config(self, Probabilities(folded(self)), ToScores)

    def _target(self, entry: dict[str, Any]) -> dict[str, Any]:
        if LABEL.name not in entry:
            raise InputError(f"{entry.get('file_name', 'an image')} has no label, and the model learns from labels")
        label = int(entry[LABEL.name])
        if not 0 <= label < self.num_classes:
            raise InputError(
                f"{entry.get('file_name', 'an image')}: label {label} is none of 0 to {self.num_classes - 1}, by "
                "MODEL.FBNETV5.NUM_CLASSES"
            )
        return {LABEL.name: label}


class Probabilities(nn.Module):
    """The part of a classifier that is exported, tensors to tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to probabilities [N, K]."""
        probabilities: Tensor = self.model.probabilities(images)
        return probabilities


class ToScores:
    """Probabilities to a dictionary an image."""

    def __call__(self, inputs: Sequence[dict[str, Any]], images: Tensor, outputs: Tensor) -> list[dict[str, Tensor]]:
        """Return ``{"scores": [K]}`` for each row of ``outputs`` [N, K]."""
        return [{"scores": row} for row in outputs]
