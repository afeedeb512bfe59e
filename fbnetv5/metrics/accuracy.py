"""Accuracy of image classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size, Target
from fbnetv5.metrics.gather import sum_counts

TOP = 5


class Accuracy:
    """The share of images whose class is the likeliest (``top1``) or among the five likeliest (``top5``).

    ``top5`` is left out where there are no more than five classes: it would be 1 whatever the model does. The accuracy
    on the images of one class is ``top1/<class>``.

    Args:
        target: of kind SCALAR.
        classes: their names, K.
    """

    main_metric = "top1"

    def __init__(self, target: Target, classes: Sequence[str]) -> None:
        self.target = target
        self.classes = tuple(classes)
        self._counts = torch.zeros(3, len(classes), dtype=torch.int64)  # images, first is right, one of five is right

    def update(
        self,
        predictions: Sequence[Tensor],
        targets: Sequence[dict[str, Any]],
        names: Sequence[str],
        sizes: Sequence[Size],
    ) -> None:
        """Add images; see ``Evaluator``."""
        for probabilities, target, name in zip(predictions, targets, names, strict=True):
            if self.target.name not in target:
                continue
            if probabilities.shape != (len(self.classes),):
                expected, found = len(self.classes), list(probabilities.shape)
                raise ValueError(f"image '{name}': {expected} probabilities are needed, not a tensor {found}")
            label = int(target[self.target.name])
            best = probabilities.cpu().topk(min(TOP, len(self.classes))).indices.tolist()
            self._counts[:, label] += torch.tensor([1, best[0] == label, label in best])

    def compute(self, world: World) -> dict[str, float]:
        """Rate all images of all ranks; see ``Evaluator``."""
        counts = sum_counts(world, self._counts)
        num_images, num_first, num_five = counts.sum(1).tolist()
        if num_images == 0:
            raise InputError(f"nothing to evaluate: no image has a '{self.target.name}'")
        values = {"top1": num_first / num_images}
        if len(self.classes) > TOP:
            values["top5"] = num_five / num_images
        values["num_images"] = float(num_images)
        for name, (count, right, _) in zip(self.classes, counts.T.tolist(), strict=True):
            if count:
                values[f"top1/{name}"] = right / count
        return values
