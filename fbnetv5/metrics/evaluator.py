"""What an evaluation asks of a metric, and which metric belongs to which kind of target.

Predictions and targets are in the pixels of the stored image; ``data.multitask`` describes the targets.

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

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size, Target, TargetKind
from fbnetv5.metrics.accuracy import Accuracy
from fbnetv5.metrics.coco_ap import CocoAP
from fbnetv5.metrics.keypoints import KeypointMetrics
from fbnetv5.metrics.segmentation import SegmentationIoU


class Evaluator(Protocol):
    """Collects predictions and rates them.

    Attributes:
        main_metric: the key of ``compute`` by which models are compared; higher is better.
    """

    main_metric: str

    def update(
        self,
        predictions: Sequence[Any],
        targets: Sequence[dict[str, Any]],
        names: Sequence[str],
        sizes: Sequence[Size],
    ) -> None:
        """Add images; each of the data set once, on one rank. Images without the target are passed over.

        Args:
            predictions: one an image, on any device; see the module.
            targets: as annotated, not augmented.
            names: of the images, relative to the root of the data.
            sizes: (height, width) of the stored images.

        Raises:
            ValueError: a prediction has not the form that its target asks for.
        """

    def compute(self, world: World) -> dict[str, float]:
        """Rate all images of all ranks, which must all call; every rank gets the same numbers.

        Keys are metrics (0 to 1), ``metric/class name``, and ``num_images``. What is undefined, such as the AP of a
        class of which there is no box, is left out; ``main_metric`` never is. All values are finite.

        Raises:
            InputError: no image is labelled, or nothing in them defines the main metric.
        """


def build_evaluator(target: Target, classes: tuple[str, ...], coco_json: Path | None = None) -> Evaluator:
    """Return the evaluator for a target.

    Args:
        target: what is predicted.
        classes: its class names, in the order of their ids.
        coco_json: for BOXES and KEYPOINTS, the split's own COCO file, whose crowd regions, areas and head sizes then
            count.

    Raises:
        InputError: there is no metric for this kind of target, or the file is malformed.
    """
    evaluators: dict[TargetKind, Callable[[], Evaluator]] = {
        TargetKind.SCALAR: lambda: Accuracy(target, classes),
        TargetKind.BOXES: lambda: CocoAP(target, classes, coco_json),
        TargetKind.KEYPOINTS: lambda: KeypointMetrics(target, classes, coco_json),
        TargetKind.MASK: lambda: SegmentationIoU(target, classes),
    }
    if target.kind not in evaluators:
        raise InputError(f"target '{target.name}': there is no metric for targets of kind '{target.kind.value}'")
    return evaluators[target.kind]()
