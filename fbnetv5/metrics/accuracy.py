"""Accuracy of image classification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import NothingToRateError
from fbnetv5.base.types import Target, TargetDict
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.gather import sum_counts

TOP = 5


class Accuracy(Evaluator):
    """The share of images whose class is the likeliest (``top1``) or among the five likeliest (``top5``).

    ``top5`` is left out where there are no more than five classes: it would be 1 whatever the model does. The accuracy
    on the images of one class is ``top1/<class>``.

    Args:
        target: of kind SCALAR.
        classes: their names, K.
    """

    main_metric = "top1"

    def __init__(self, target: Target, classes: Sequence[str]) -> None:
        super().__init__(target, classes)
        self._counts = torch.zeros(3, len(classes), dtype=torch.int64)  # images, first is right, one of five is right

    def add(self, prediction: Tensor, target: TargetDict, name: str) -> None:
        if prediction.shape != (len(self.classes),):
            expected, found = len(self.classes), list(prediction.shape)
            raise ValueError(f"image '{name}': {expected} probabilities are needed, not a tensor {found}")
        label = int(target[self.target.name])
        best = prediction.cpu().topk(min(TOP, len(self.classes))).indices.tolist()
        self._counts[:, label] += torch.tensor([1, best[0] == label, label in best])

    def compute(self, world: World) -> dict[str, float]:
        counts = sum_counts(world, self._counts)
        num_images, num_first, num_five = counts.sum(1).tolist()
        if num_images == 0:
            raise NothingToRateError(f"nothing to evaluate: no image has a '{self.target.name}'")
        values = {"top1": num_first / num_images}
        if len(self.classes) > TOP:
            values["top5"] = num_five / num_images
        values["num_images"] = float(num_images)
        for name, (count, right, _) in zip(self.classes, counts.T.tolist(), strict=True):
            if count:
                values[f"top1/{name}"] = right / count
        return values
