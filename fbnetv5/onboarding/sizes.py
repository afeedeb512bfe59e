"""Settings that suit the images and labels of a folder, for minutes on a CPU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fbnetv5.onboarding.found import Box
from fbnetv5.onboarding.origins import Origin
from fbnetv5.onboarding.survey import Survey

STRIDE = 32  # pixels: sides are multiples of it
SMALLEST_ANCHOR = 8  # pixels
QUANTILES = (0.1, 0.5, 0.9)  # of the boxes' sizes that anchors stand at


@dataclass(frozen=True)
class Shape:
    """How large images are, in pixels.

    Attributes:
        width, height: the medians.
        short: the median short side.
        aspect: long side / short side that nine of ten images do not exceed.
    """

    width: int
    height: int
    short: int
    aspect: float


@dataclass(frozen=True)
class Input:
    """What a network sees: the short side, the most that the long side may have, and the crop, in pixels."""

    short_side: int
    long_side: int
    crop: int


def shape_of(sizes: Mapping[str, tuple[int, int]]) -> Shape:
    """Return how large images are, by their (width, height); a square of 256 where nothing is known."""
    array = np.array(list(sizes.values()) or [(256, 256)], np.float64)
    long, short = array.max(axis=1), array.min(axis=1)
    width, height = np.median(array, axis=0)
    return Shape(int(width), int(height), int(np.median(short)), float(np.quantile(long / short, 0.9)))


@dataclass(frozen=True)
class BoxSizes:
    """How large training boxes are.

    Attributes:
        shares: square roots of areas as shares of the image's short side, ascending [n].
        weights: of each box, so that all classes count alike [n]; they sum to 1.
    """

    shares: np.ndarray
    weights: np.ndarray

    def quantile(self, part: float) -> float:
        """Return the share that this part of the boxes, by weight, does not exceed."""
        place = int(np.searchsorted(np.cumsum(self.weights), part))
        return float(self.shares[min(place, len(self.shares) - 1)])


def box_sizes(survey: Survey) -> BoxSizes:
    """Return how large the boxes of the training images are."""
    found = survey.found["boxes"]
    shares: list[float] = []
    labels: list[str] = []
    for image in survey.train:
        boxes: Sequence[Box] = found.values.get(image, ())
        size = found.sizes.get(image) or survey.listing.sizes.get(image)
        for box in boxes if size is not None else ():
            if not box.crowd:
                shares.append(math.sqrt((box.x2 - box.x1) * (box.y2 - box.y1)) / min(size or ()))
                labels.append(box.label)
    if not shares:
        return BoxSizes(np.array([0.3]), np.array([1.0]))
    counts = Counter(labels)
    weights = np.array([1 / (counts[label] * len(counts)) for label in labels])
    order = np.argsort(shares)
    return BoxSizes(np.array(shares)[order], weights[order])


def search_input(shape: Shape, boxes: BoxSizes | None) -> Input:
    """Return what a search sees: 128 pixels, less for smaller images, up to 224 where boxes would be too small."""
    side = 128.0
    if boxes is not None:
        side = max(side, min(224.0, SMALLEST_ANCHOR / boxes.quantile(0.25)))
    return _input(min(side, max(STRIDE, shape.short)), shape)


def train_input(shape: Shape, target: str, boxes: BoxSizes | None, origin: Origin) -> Input:
    """Return what a final model sees: 160 pixels for boxes, or up to 320 where they are small; ``origin.side`` else."""
    if target != "boxes" or boxes is None:
        return _input(min(origin.side, max(STRIDE, shape.short)), shape)
    side = max(160.0, min(320.0, 1.5 * SMALLEST_ANCHOR / boxes.quantile(0.1)))
    return _input(min(side, max(64, shape.short)), shape)


def anchor_sizes(boxes: BoxSizes, short_side: int) -> list[int]:
    """Return the sizes of anchors in pixels, square roots of areas, for images of this short side."""
    sizes = [max(SMALLEST_ANCHOR, round(boxes.quantile(q) * short_side)) for q in QUANTILES]
    for place in range(1, len(sizes)):  # distinct, and far enough apart to tell boxes from each other
        sizes[place] = max(sizes[place], math.ceil(1.25 * sizes[place - 1]))
    return sizes


def search_schedule(num_images: int, origin: Origin) -> tuple[int, int]:
    """Return batch size (pairs of architectures see the same images) and steps of a search."""
    batch = min(64 if num_images >= 128 else 32 if num_images >= 48 else 16, origin.batch)
    return batch, int(np.clip(_hundreds(40 * num_images / (batch / 2)), 200, origin.steps))


def train_schedule(target: str, num_images: int) -> tuple[int, int]:
    """Return batch size and steps of a training from a supernet's weights."""
    batch, passes, least, most = {
        "labels": (32 if num_images >= 64 else 8, 30, 200, 1200),
        "boxes": (8, 16, 300, 800),
        "masks": (16 if num_images >= 32 else 8, 60, 400, 1500),
        "keypoints": (16 if num_images >= 32 else 8, 32, 300, 800),
    }[target]
    return batch, int(np.clip(_hundreds(passes * num_images / batch), least, most))


def _input(side: float, shape: Shape) -> Input:
    short = max(STRIDE, math.floor(side / 16) * 16)
    crop = max(STRIDE, math.floor(short * 0.9 / 16) * 16) if short > STRIDE else STRIDE
    longest = math.ceil(short * min(2.0, shape.aspect) / STRIDE) * STRIDE
    return Input(short, max(short, longest), crop)


def _hundreds(steps: float) -> int:
    return math.ceil(steps / 100) * 100
