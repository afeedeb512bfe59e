"""Base of metrics: predictions of images are taken in, then rated over all processes.

Predictions and targets are in the pixels of the stored image; ``base.types`` describes the targets.

=========  ===============================================================================================
kind       prediction of one image
=========  ===============================================================================================
SCALAR     float [K], the probability of each class
BOXES      ``boxes`` float [m, 4], x1 y1 x2 y2; ``box_labels`` int64 [m]; ``scores`` float [m]
MASK       uint8 [H, W], class ids
KEYPOINTS  float [K, 3]: x, y, score in 0..1
=========  ===============================================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from fbnetv5.base.distributed import World
from fbnetv5.base.types import Target, TargetDict


class Evaluator(ABC):
    """Collects predictions and rates them.

    Args:
        target: which is predicted.
        classes: its class names, K.
    """

    main_metric: ClassVar[str]
    """The key of :meth:`compute` by which models are compared; higher is better."""

    def __init__(self, target: Target, classes: Sequence[str]) -> None:
        self.target = target
        self.classes = tuple(classes)

    def update(self, predictions: Sequence[Any], targets: Sequence[TargetDict], names: Sequence[str]) -> None:
        """Add images; each of the data set once, on one rank. Images without the target are passed over.

        Args:
            predictions: one an image, on any device; see the module.
            targets: as annotated, not augmented.
            names: of the images, relative to the root of the data.

        Raises:
            ValueError: a prediction has not the form that its target asks for.
        """
        for prediction, target, name in zip(predictions, targets, names, strict=True):
            if self.target.name in target:
                self.add(prediction, target, name)

    @abstractmethod
    def add(self, prediction: Any, target: TargetDict, name: str) -> None:
        """Add one image that has the target, as :meth:`update`."""

    @abstractmethod
    def compute(self, world: World) -> dict[str, float]:
        """Rate all images of all ranks, which must all call; every rank gets the same numbers.

        Keys are metrics (0 to 1), ``metric/class name``, and ``num_images``. What is undefined, such as the AP of a
        class of which there is no box, is left out; ``main_metric`` never is. All values are finite.

        Raises:
            InputError: no image is labelled, or nothing in them defines the main metric.
        """
