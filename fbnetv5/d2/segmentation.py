"""Lite MaskFormer as a meta-architecture: semantic segmentation, with Detectron2's inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fbnetv5.d2
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, SEGMENTATION
from fbnetv5.d2.export import folded
from fbnetv5.d2.task_model import TaskModel, export_config
from fbnetv5.heads.lite_maskformer.head import LiteMaskFormer

try:
    from d2go.modeling.meta_arch.semantic_seg import PostprocessFunc
    from d2go.registry.builtin import META_ARCH_REGISTRY as D2GO_META_ARCH_REGISTRY
    from detectron2.modeling import META_ARCH_REGISTRY
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error


@D2GO_META_ARCH_REGISTRY.register()
@META_ARCH_REGISTRY.register()
class FBNetV5Segmentation(TaskModel):
    """The network of ``MODEL.FBNETV5`` with Lite MaskFormer for ``MODEL.SEM_SEG_HEAD.NUM_CLASSES`` classes.

    Args:
        cfg: a config with ``MODEL.FBNETV5``.

    Raises:
        InputError: as :class:`TaskModel`.
    """

    head: LiteMaskFormer

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg, "fbnetv5.heads.lite_maskformer.LiteMaskFormer", cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
        self.num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        self.ignored = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE

    def forward(self, inputs: Sequence[dict[str, Any]]) -> Any:
        """Return the losses, by name (training), or ``{"sem_seg": scores}`` for each image (evaluation).

        Args:
            inputs: ``image`` [3, h, w] in the order of ``INPUT.FORMAT``, 0 to 255; in training ``sem_seg`` int [h, w];
                in evaluation ``height`` and ``width`` of the stored image, which the scores [K, height, width] are for.

        Raises:
            InputError: an image of a training has no ``sem_seg``.
        """
        images = self.batch(inputs)
        if not self.training:
            return PostprocessFunc()(inputs, images, self.scores(images))
        features = self.features(images)
        size = (images.shape[-2], images.shape[-1])
        with torch.autocast(images.device.type, enabled=False):  # losses and their matching want full precision
            return self.head(features, size, [self._target(entry, size) for entry in inputs])

    def scores(self, images: Tensor) -> Tensor:
        """Return MaskFormer's score of each class for each pixel, [N, K, H, W], of images [N, 3, H, W].

        A pixel's score for a class is the sum over queries of the probabilities that the query is of that class and
        that the pixel lies in its mask.
        """
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            class_logits, mask_logits = self.head.segments(features)
            masks = F.interpolate(mask_logits, size=images.shape[-2:], mode="bilinear", align_corners=False).sigmoid()
            return torch.einsum("nqk,nqhw->nkhw", class_logits.softmax(dim=-1)[..., :-1], masks)

    def prepare_for_export(self, cfg: Any, inputs: Any, predictor_type: str) -> Any:
        """Return what D2Go's exporter traces: padded images to scores."""
        return export_config(self, Scores(folded(self)), PostprocessFunc)

    def _target(self, entry: dict[str, Any], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the mask of an input, uint8 of ``size`` (height, width), 255 = ignore and in the padding."""
        if "sem_seg" not in entry:
            raise InputError(f"{entry.get('file_name', 'an image')} has no mask, and the model learns from masks")
        mask = entry["sem_seg"]
        mask = mask.where(mask != self.ignored, IGNORE)
        wrong = mask[(mask >= self.num_classes) & (mask != IGNORE)]
        if len(wrong):
            raise InputError(
                f"{entry.get('file_name', 'an image')}: mask value {int(wrong[0])} is neither a class (0 to "
                f"{self.num_classes - 1}, by MODEL.SEM_SEG_HEAD.NUM_CLASSES) nor {self.ignored}"
            )
        mask = mask.to(self.device, torch.uint8)
        missing = (0, size[1] - mask.shape[1], 0, size[0] - mask.shape[0])
        return {SEGMENTATION.name: F.pad(mask, missing, value=IGNORE)}


class Scores(nn.Module):
    """The part of a segmentation model that is exported, tensors to tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to scores [N, K, H, W]."""
        scores: Tensor = self.model.scores(images)
        return scores
