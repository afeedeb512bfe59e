"""The metrics of a model, trained or exported, image by image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size, Source
from fbnetv5.export.deployed import ALONE
from fbnetv5.export.inputs import fitted
from fbnetv5.export.progress import ExportProgress
from fbnetv5.export.tasks import tasks_of
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.model.folder import FinalModel
from fbnetv5.model.joint_net import JointModel

Predict = Callable[[Tensor], Any]
"""Predicts an image uint8 [3, H, W], in its own pixels, as heads do: a trained model's or an exported one's; of a model
of several tasks, one prediction a task."""


@dataclass
class FixedSizeModel:
    """A trained model on images as its exported form sees them: resized and padded to one size.

    Attributes:
        model: the trained model, in evaluation mode.
        size: (height, width) of the input.
    """

    model: FinalModel
    size: Size

    @torch.no_grad()
    def predict(self, image: Tensor) -> Any:
        """Return the prediction for an image uint8 [3, H, W], in its own pixels; of several tasks one a task."""
        prepared, covered = fitted(image, self.model.spec.input, self.size)
        stored = (image.shape[1], image.shape[2])
        (prediction,) = self.model(prepared, true_sizes=[covered], output_sizes=[stored])
        return prediction

    @torch.no_grad()
    def pixels(self, image: Tensor, task: str = ALONE) -> tuple[Tensor, Tensor]:
        """Return the class of every pixel of the input, uint8 [H, W], and its probability, for uint8 [3, H', W']."""
        prepared, covered = fitted(image, self.model.spec.input, self.size)
        found: Any = self.model.network(prepared)
        features = found[task] if isinstance(self.model, JointModel) else found
        head: Any = tasks_of(self.model)[task].head  # of segmentation
        ((classes, scores),) = head.classify(features, self.size, [covered])
        return classes, scores


def by_task(model: FinalModel, prediction: Any) -> dict[str, Any]:
    """Return a prediction of a model, or of its exported form, as one a task."""
    return prediction if isinstance(model, JointModel) else {ALONE: prediction}


@torch.no_grad()
def rate(
    model: FinalModel, source: Source, predict: Predict, progress: ExportProgress | None = None
) -> dict[str, dict[str, float]]:
    """Return the metrics of predictions on the images of ``source``, of each task that an image is labelled for.

    A task whose images have nothing that its metric counts, such as no box, is left out.

    Args:
        model: the trained model, which says what is predicted.
        source: the images; those that are labelled for a task are taken.
        predict: its own prediction, or that of its exported form.
        progress: is told of each image.
    """
    tasks = {task: each for task, each in tasks_of(model).items() if source.num_labelled(each.target.name)}
    evaluators = {task: build_evaluator(each.target, each.classes) for task, each in tasks.items()}
    rows = sorted(set[int]().union(*(source.labelled(each.target.name) for each in tasks.values())))
    for row in rows if progress is None else progress.over("rating image", rows, len(rows)):
        sample = source.load(row)
        found = by_task(model, predict(sample.image))
        for task, evaluator in evaluators.items():
            evaluator.update([found[task]], [sample.target], [sample.name])
    world = World(0, 1, torch.device("cpu"))
    metrics = {}
    for task, evaluator in evaluators.items():
        with contextlib.suppress(InputError):
            metrics[task] = evaluator.compute(world)
    return metrics


def main_metrics(model: FinalModel) -> dict[str, str]:
    """Return, for each task, the name of the metric by which models are compared."""
    return {task: build_evaluator(each.target, each.classes).main_metric for task, each in tasks_of(model).items()}
