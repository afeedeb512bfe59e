"""Resizing, cropping and padding of an image with everything that lies on it, as ``torchvision.transforms.v2``.

Images are resized with antialiasing; masks and dense maps take the nearest pixel. What lies outside of an image is
unknown: 255 in masks, NaN in dense maps. It is the mean colour in images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fbnetv5.data.multitask import IGNORE
from fbnetv5.errors import InputError

IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)


class DenseMap(tv_tensors.Mask):
    """A map of real numbers, moved as a mask is, but with another value outside of the image."""


OUTSIDE = {
    tv_tensors.Image: [round(255 * mean) for mean in IMAGE_MEAN],
    tv_tensors.Mask: IGNORE,
    DenseMap: float("nan"),
}


def resized_size(
    height: int, width: int, short_side: int, long_side: int | None = None, *, factor: float = 1.0
) -> tuple[int, int]:
    """Return the (height, width) of an image whose short side becomes ``short_side``, unless that is too long.

    ``short_side`` is multiplied by ``factor`` first. Where the long side would exceed ``long_side``, that becomes the
    long side instead. Sides are rounded as Detectron2's ResizeShortestEdge does, but are never 0.
    """
    scale = short_side * factor / min(height, width)
    sides = (scale * height, scale * width)
    if long_side is not None and max(sides) > long_side:
        shrink = long_side / max(sides)
        sides = (sides[0] * shrink, sides[1] * shrink)
    return max(1, int(sides[0] + 0.5)), max(1, int(sides[1] + 0.5))


class Resize(v2.Transform):
    """Resize the short side; nothing happens to an image that has it already.

    With ``nearest_size`` the size is that of :func:`resized_size`, else the long side is rounded down, as torchvision
    does. v2's own Resize samples masks at the corner of a pixel, which moves them by up to half a pixel against the
    boxes.

    Args:
        short_side: in pixels.
        long_side: the most pixels that the long side may have; implies ``nearest_size``.
        scale: ``short_side`` is multiplied by a random factor between these two; implies ``nearest_size``.

    Raises:
        InputError: a side is below one pixel.
    """

    def __init__(
        self,
        short_side: int,
        *,
        long_side: int | None = None,
        scale: tuple[float, float] | None = None,
        nearest_size: bool = False,
    ) -> None:
        super().__init__()
        for name, side in (("short_side", short_side), ("long_side", long_side)):
            if side is not None and side < 1:
                raise InputError(f"{name} {side} must be at least 1 pixel")
        self.short_side = short_side
        self.long_side = long_side
        self.scale = scale
        self.nearest_size = nearest_size or long_side is not None or scale is not None

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the size, in the form that torchvision's resize takes."""
        if not self.nearest_size:
            return {"size": [self.short_side]}
        factor = 1.0
        if self.scale is not None:
            factor = float(torch.empty(()).uniform_(*self.scale))
        height, width = v2.query_size(flat_inputs)
        return {"size": list(resized_size(height, width, self.short_side, self.long_side, factor=factor))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one tv_tensor; other inputs pass."""
        if isinstance(inpt, tv_tensors.Mask):
            plain = inpt.as_subclass(Tensor)[None]
            nearest = v2.InterpolationMode.NEAREST_EXACT
            return tv_tensors.wrap(functional.resize_image(plain, params["size"], nearest)[0], like=inpt)
        return self._call_kernel(functional.resize, inpt, params["size"], antialias=True)


class CropTo(v2.RandomCrop):
    """Cut a random square of ``side`` x ``side`` pixels; an image that is smaller on an axis keeps all of it."""

    def __init__(self, side: int) -> None:
        if side < 1:
            raise InputError(f"crop {side} must be at least 1 pixel")
        super().__init__(side)
        self.side = side

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the place."""
        height, width = v2.query_size(flat_inputs)
        return v2.RandomCrop((min(self.side, height), min(self.side, width))).make_params(flat_inputs)


class PadTo(v2.Transform):
    """Pad at the right and at the bottom, with the unknown, to at least ``side`` x ``side`` pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        if side < 1:
            raise InputError(f"crop {side} must be at least 1 pixel")
        self.side = side

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Measure how much is missing."""
        height, width = v2.query_size(flat_inputs)
        return {"padding": [0, 0, max(0, self.side - width), max(0, self.side - height)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Pad one tv_tensor; other inputs pass."""
        if not any(params["padding"]):
            return inpt
        return self._call_kernel(functional.pad, inpt, params["padding"], fill=OUTSIDE.get(type(inpt), 0))


def normalised(
    image: Tensor, mean: tuple[float, float, float] = IMAGE_MEAN, std: tuple[float, float, float] = IMAGE_STD
) -> Tensor:
    """Return an image uint8 [3, H, W] as float32, less ``mean`` and over ``std``, which are of values in [0, 1]."""
    offset = torch.tensor(mean).mul(255)[:, None, None]
    spread = torch.tensor(std).mul(255)[:, None, None]
    return image.float().sub_(offset).div_(spread)
