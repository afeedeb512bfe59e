"""Predictions for one image as objects: one type a kind of target, in pixels of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fbnetv5.base.types import BOXES, TargetKind

Classes = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """The class of an image.

    Attributes:
        probabilities: float [K], of each class; they sum to 1.
        classes: K names.
    """

    probabilities: Tensor
    classes: Classes

    @property
    def label(self) -> int:
        """The id of the likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The name of the likeliest class."""
        return self.classes[self.label]

    @property
    def score(self) -> float:
        """The probability of the likeliest class."""
        return float(self.probabilities.max())

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return names and probabilities of the likeliest classes, best first."""
        best = self.probabilities.topk(min(count, len(self.classes)))
        return [(self.classes[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name} {self.score:.2f})"


@dataclass(frozen=True, eq=False)
class BoxPrediction:
    """The objects in an image, best first; ``prediction["boxes"]``, ``["box_labels"]`` and ``["scores"]`` work too.

    Attributes:
        boxes: float [m, 4], x1 y1 x2 y2 in pixels.
        labels: int64 [m], class ids.
        scores: float [m], in 0..1.
        classes: the names.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    classes: Classes

    @property
    def names(self) -> list[str]:
        """The m names of the objects' classes."""
        return [self.classes[label] for label in self.labels.tolist()]

    def above(self, score: float) -> BoxPrediction:
        """Return the objects of at least this score."""
        kept = self.scores >= score
        return BoxPrediction(self.boxes[kept], self.labels[kept], self.scores[kept], self.classes)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, key: str) -> Tensor:
        """Return what stands under a key of a head's prediction."""
        return {BOXES.name: self.boxes, BOXES.labels_key: self.labels, "scores": self.scores}[key]

    def __repr__(self) -> str:
        shown = ", ".join(f"{n} {s:.2f}" for n, s in zip(self.names[:3], self.scores.tolist(), strict=False))
        return (
            f"{type(self).__name__}({len(self)} objects{': ' if shown else ''}{shown}{' ...' if len(self) > 3 else ''})"
        )


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """The class of every pixel.

    Attributes:
        segmentation: uint8 [H, W], class ids.
        classes: the names.
    """

    segmentation: Tensor
    classes: Classes

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image that each class there covers, by name, largest first."""
        ids, counts = self.segmentation.unique(return_counts=True)
        found = sorted(zip(counts.tolist(), ids.tolist(), strict=True), reverse=True)
        return {self.classes[label]: count / self.segmentation.numel() for count, label in found}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {share:.0%}" for name, share in list(self.shares.items())[:3])
        return f"{type(self).__name__}({'x'.join(map(str, self.segmentation.shape))}: {shown})"


@dataclass(frozen=True, eq=False)
class DensePrediction:
    """A number for every pixel, such as depth in metres.

    Attributes:
        values: float [H, W].
    """

    values: Tensor


@dataclass(frozen=True, eq=False)
class PosePrediction:
    """The keypoints of a person.

    Attributes:
        keypoints: float [K, 3], x and y in pixels, and the score.
        names: of the K points.
    """

    keypoints: Tensor
    names: Classes

    @property
    def points(self) -> dict[str, tuple[float, float]]:
        """(x, y) in pixels of each point, by name."""
        return {name: (x, y) for name, (x, y, _) in zip(self.names, self.keypoints.tolist(), strict=True)}


Prediction = ClassPrediction | BoxPrediction | MaskPrediction | DensePrediction | PosePrediction


def as_prediction(tensors: Any, kind: TargetKind, classes: Classes) -> Prediction:
    """Return the object of what a head of this kind predicts for one image, as ``metrics.evaluator`` describes it."""
    return _OF_KIND[kind](tensors, classes)


def _boxes(tensors: dict[str, Tensor], classes: Classes) -> BoxPrediction:
    return BoxPrediction(tensors[BOXES.name], tensors[BOXES.labels_key], tensors["scores"], classes)


_OF_KIND: dict[TargetKind, Callable[[Any, Classes], Prediction]] = {
    TargetKind.SCALAR: ClassPrediction,
    TargetKind.BOXES: _boxes,
    TargetKind.MASK: MaskPrediction,
    TargetKind.DENSE: lambda values, _: DensePrediction(values),
    TargetKind.KEYPOINTS: PosePrediction,
}
