"""Teachers: pretrained models that label images, with boxes or with a class for every pixel.

Shapes: n boxes, K classes, an image of H x W pixels in the frame of ``label.frame``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Boxes(NamedTuple):
    """The boxes of an image, in its pixels, in any order and of any score.

    Attributes:
        boxes: float32 [n, 4], x1 y1 x2 y2.
        labels: int64 [n], class ids in 0 .. K - 1.
        scores: float32 [n], in 0 .. 1.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


class Pixels(NamedTuple):
    """The likeliest class of each pixel of an image.

    Attributes:
        labels: uint8 [H, W], class ids in 0 .. K - 1.
        scores: float32 [H, W], the class's probability, in 0 .. 1.
    """

    labels: Tensor
    scores: Tensor


class BoxTeacher(Protocol):
    """Finds objects."""

    classes: tuple[str, ...]

    def to(self, device: torch.device) -> None:
        """Compute on ``device`` from now on; at first, that is the CPU."""

    def __call__(self, images: Sequence[Tensor]) -> list[Boxes]:
        """Label RGB images, uint8 [3, H, W] of any sizes on the CPU; the answers are on the CPU too."""


class PixelTeacher(Protocol):
    """Classifies every pixel. It has at most 255 classes."""

    classes: tuple[str, ...]

    def to(self, device: torch.device) -> None:
        """Compute on ``device`` from now on; at first, that is the CPU."""

    def __call__(self, images: Sequence[Tensor]) -> list[Pixels]:
        """Label RGB images, uint8 [3, H, W] of any sizes on the CPU; the answers are on the CPU too."""
