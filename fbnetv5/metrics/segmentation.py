"""Intersection over union of semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import NothingToRateError
from fbnetv5.base.types import IGNORE, Target, TargetDict
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.gather import sum_counts


class SegmentationIoU(Evaluator):
    """mIoU, ``IoU/<class>`` and pixel accuracy, of the pixels of all images together.

    ``mIoU`` is the mean over the classes that occur in the truth or in a prediction, as MMSegmentation takes it: one
    that is only predicted, wrongly, counts as 0; one that occurs nowhere is left out. On ADE20K's validation split,
    where all 150 classes occur, this is the benchmark's number. Pixels whose truth is 255 count for nothing.

    Args:
        target: of kind MASK.
        classes: their names, K.
    """

    main_metric = "mIoU"

    def __init__(self, target: Target, classes: Sequence[str]) -> None:
        super().__init__(target, classes)
        self._confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)  # pixels [truth, prediction]
        self._num_images = 0

    def add(self, prediction: Tensor, target: TargetDict, name: str) -> None:
        truth = target[self.target.name]
        if prediction.shape != truth.shape:
            raise ValueError(f"image '{name}': a mask {list(truth.shape)}, predicted {list(prediction.shape)}")
        self._confusion += confusion_matrix(prediction.cpu(), truth.cpu(), len(self.classes))
        self._num_images += 1

    def compute(self, world: World) -> dict[str, float]:
        confusion = sum_counts(world, self._confusion)
        num_images = int(sum_counts(world, torch.tensor([self._num_images])))
        num_pixels = int(confusion.sum())
        if num_pixels == 0:
            raise NothingToRateError(
                f"nothing to evaluate: no pixel of {num_images} images has a class of {self.target.name}"
            )
        right = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - right
        ious = {name: int(r) / int(u) for name, r, u in zip(self.classes, right, union, strict=True) if u > 0}
        values = {"mIoU": sum(ious.values()) / len(ious), "pixel_accuracy": int(right.sum()) / num_pixels}
        values["num_images"] = float(num_images)
        return values | {f"IoU/{name}": iou for name, iou in ious.items()}


def confusion_matrix(prediction: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Count pixels: int64 [truth, prediction] of two maps of class ids [H, W]; those whose truth is 255 are left out.

    Raises:
        ValueError: a pixel's class is none of ``num_classes``.
    """
    known = truth != IGNORE
    pairs = torch.stack([truth[known], prediction[known]]).long()
    if pairs.numel() and (int(pairs.max()) >= num_classes or int(pairs.min()) < 0):
        raise ValueError(f"a class id of {int(pairs.max())} in a mask of {num_classes} classes")
    cells = pairs[0] * num_classes + pairs[1]
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
