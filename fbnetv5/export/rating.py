"""The metrics of a model, trained or exported, image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.types import Size, Source
from fbnetv5.export.inputs import fitted
from fbnetv5.export.progress import ExportProgress
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.model.task_net import TaskNet

Predict = Callable[[Tensor], Any]
"""Predicts an image uint8 [3, H, W], in its own pixels, as a head does: a trained model's or an exported one's."""


@dataclass
class FixedSizeModel:
    """A trained model on images as its exported form sees them: resized and padded to one size.

    Attributes:
        model: the trained model, in evaluation mode.
        size: (height, width) of the input.
    """

    model: TaskNet
    size: Size

    @torch.no_grad()
    def predict(self, image: Tensor) -> Any:
        """Return the prediction for an image uint8 [3, H, W], in its own pixels."""
        prepared, covered = fitted(image, self.model.spec.input, self.size)
        stored = (image.shape[1], image.shape[2])
        (prediction,) = self.model(prepared, true_sizes=[covered], output_sizes=[stored])
        return prediction

    @torch.no_grad()
    def pixels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class of every pixel of the input, uint8 [H, W], and its probability, for uint8 [3, H', W']."""
        prepared, covered = fitted(image, self.model.spec.input, self.size)
        head: Any = self.model.head  # of segmentation
        ((classes, scores),) = head.classify(self.model.network(prepared), self.size, [covered])
        return classes, scores


@torch.no_grad()
def rate(model: TaskNet, source: Source, predict: Predict, progress: ExportProgress | None = None) -> dict[str, float]:
    """Return the metrics of predictions on the images of ``source`` that are labelled; empty where there are none.

    Args:
        model: the trained model, which says what is predicted.
        source: the images.
        predict: its own prediction, or that of its exported form.
        progress: is told of each image.
    """
    target = model.head.target
    rows = source.labelled(target.name)
    if not len(rows):
        return {}
    evaluator = build_evaluator(target, model.spec.classes)
    for row in rows if progress is None else progress.over("rating image", rows, len(rows)):
        sample = source.load(row)
        evaluator.update([predict(sample.image)], [sample.target], [sample.name])
    return evaluator.compute(World(0, 1, torch.device("cpu")))


def main_metric(model: TaskNet) -> str:
    """Return the name of the metric by which models are compared."""
    return build_evaluator(model.head.target, model.spec.classes).main_metric
