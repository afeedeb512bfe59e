"""EXIF orientation: which way up an image is, and in which of its two frames its labels are.

A camera stores pixels as its sensor has them, with a tag, 1 to 8, that says how a viewer is to turn them. The *stored*
frame is that of the pixels, the *upright* one is what a person sees. A tag turns by mirroring the diagonal, which swaps
width and height (5 to 8), then left and right, then top and bottom. Sizes are (width, height) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fbnetv5.base.types import TargetKind

Extent = tuple[int, int]  # (width, height) in pixels
UPRIGHT, STORED = "upright", "stored"


class Turn(NamedTuple):
    """Steps from the stored frame to the upright one, in this order."""

    swap: bool
    flip_x: bool
    flip_y: bool


TURNS = {
    1: Turn(swap=False, flip_x=False, flip_y=False),
    2: Turn(swap=False, flip_x=True, flip_y=False),
    3: Turn(swap=False, flip_x=True, flip_y=True),
    4: Turn(swap=False, flip_x=False, flip_y=True),
    5: Turn(swap=True, flip_x=False, flip_y=False),
    6: Turn(swap=True, flip_x=True, flip_y=False),
    7: Turn(swap=True, flip_x=True, flip_y=True),
    8: Turn(swap=True, flip_x=False, flip_y=True),
}


def swaps(orientation: int) -> bool:
    """Whether an orientation swaps width and height."""
    return TURNS[orientation].swap


def inverse(orientation: int) -> int:
    """Return the orientation that turns back: from the upright frame to the stored one."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def turned_size(size: Extent, orientation: int) -> Extent:
    """Return the size of an image once it is turned."""
    return (size[1], size[0]) if swaps(orientation) else size


def turn_pixels(pixels: Tensor, orientation: int) -> Tensor:
    """Turn an image, a mask or a map [..., H, W]."""
    turn = TURNS[orientation]
    if turn.swap:
        pixels = pixels.transpose(-1, -2)
    axes = [axis for axis, flipped in ((-1, turn.flip_x), (-2, turn.flip_y)) if flipped]
    return pixels.flip(axes) if axes else pixels.contiguous()


def turn_points(points: Tensor, size: Extent, orientation: int) -> Tensor:
    """Turn points [..., 2], x and y from the corner of an image that has ``size`` before it is turned."""
    turn = TURNS[orientation]
    x, y = points.unbind(-1)
    if turn.swap:
        x, y = y, x
    width, height = turned_size(size, orientation)
    return torch.stack([width - x if turn.flip_x else x, height - y if turn.flip_y else y], dim=-1)


def turn_boxes(boxes: Tensor, size: Extent, orientation: int) -> Tensor:
    """Turn boxes [n, 4], x1 y1 x2 y2, of an image that has ``size`` before it is turned."""
    corners = turn_points(boxes.reshape(-1, 2, 2), size, orientation)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=-1)


def to_stored(prediction: Any, kind: TargetKind, size: Extent, orientation: int) -> Any:
    """Return a prediction for an upright image in its stored frame.

    Args:
        prediction: as a head of this kind gives it (``metrics.evaluator``).
        kind: of the target.
        size: of the upright image.
        orientation: its tag.
    """
    back = inverse(orientation)
    if kind is TargetKind.BOXES:
        return {**prediction, "boxes": turn_boxes(prediction["boxes"], size, back)}
    if kind in (TargetKind.MASK, TargetKind.DENSE):
        return turn_pixels(prediction, back)
    if kind is TargetKind.KEYPOINTS:
        return torch.cat([turn_points(prediction[..., :2], size, back), prediction[..., 2:]], dim=-1)
    return prediction


@dataclass(frozen=True)
class Frames:
    """Which images of a data set are turned upright, because their labels are in that frame.

    Attributes:
        upright: whether they are, where nothing else tells.
        by_size: where an image and its labels have sizes that tell, these do.
    """

    upright: bool = True
    by_size: bool = True

    def turns(self, orientation: int, stored: Extent, labelled: Extent | None) -> bool:
        """Whether an image is turned, of this orientation and stored size, with labels for an image of another size."""
        if self.by_size and (told := told_by_size(orientation, stored, labelled)) is not None:
            return told
        return self.upright and orientation != 1


def told_by_size(orientation: int, stored: Extent, labelled: Extent | None) -> bool | None:
    """Whether labels are for the upright image (True) or the stored one (False), by their size; None: that is open."""
    if not swaps(orientation) or stored[0] == stored[1] or labelled not in (stored, stored[::-1]):
        return None
    return labelled != stored
