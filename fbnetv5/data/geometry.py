"""Moving an image with everything that lies on it: to another size, cut, padded, turned or mirrored.

The transforms are ``torchvision.transforms.v2``'s. Images are resized with antialiasing; masks and dense maps take the
nearest pixel. What lies outside of an image is unknown: 255 in masks, NaN in dense maps. It is the mean colour in
images. Keypoints may lie outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.types import IGNORE, Size

TURN_SHARE = 0.6  # of the images, where images are turned


class DenseMap(tv_tensors.Mask):
    """A map of real numbers, moved as a mask is, but with another value outside of the image."""


OUTSIDE = {tv_tensors.Mask: IGNORE, DenseMap: float("nan")}


def resized_size(
    height: int, width: int, short_side: int, long_side: int | None = None, *, factor: float = 1.0
) -> Size:
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
            return _resized_map(inpt, params["size"])
        return self._call_kernel(functional.resize, inpt, params["size"], antialias=True)


class CropOfArea(v2.RandomResizedCrop):
    """Cut a random share of the image, at a random aspect ratio, and resize it; masks as :class:`Resize` does."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Cut and resize one tv_tensor; other inputs pass."""
        if isinstance(inpt, tv_tensors.Mask):
            return _resized_map(self._call_kernel(functional.crop, inpt, **params), list(self.size))
        return super().transform(inpt, params)


class SideBySide(v2.Transform):
    """Lays the rows of each channel of an image side by side in memory, where what comes next depends on it."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Copy an image that lies otherwise; other inputs pass."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        return tv_tensors.wrap(inpt.as_subclass(Tensor).contiguous(), like=inpt)


class CropTo(v2.RandomCrop):
    """Cut ``height`` x ``width`` pixels; an image that is smaller on an axis keeps all of it.

    Args:
        height: in pixels.
        width: in pixels; by default a square is cut.
        centred: cut at the centre instead of a random place.
    """

    def __init__(self, height: int, width: int | None = None, *, centred: bool = False) -> None:
        size = _crop_size(height, width)
        super().__init__(size)
        self.sides = size
        self.centred = centred

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the place."""
        height, width = v2.query_size(flat_inputs)
        sides = (min(self.sides[0], height), min(self.sides[1], width))
        cut = self if sides == self.sides else v2.RandomCrop(sides)
        params: dict[str, Any] = v2.RandomCrop.make_params(cut, flat_inputs)
        if self.centred:
            params |= {"top": (height - sides[0]) // 2, "left": (width - sides[1]) // 2}
        return params


class PadTo(v2.Transform):
    """Pad at the right and at the bottom, with the unknown, to at least ``height`` x ``width`` pixels (or a square).

    Args:
        height: in pixels.
        width: in pixels; by default a square.
        colour: what is outside of an image, 0 to 255.
    """

    def __init__(self, height: int, width: int | None = None, *, colour: Sequence[int] = IMAGENET.colour) -> None:
        super().__init__()
        self.sides = _crop_size(height, width)
        self.colour = list(colour)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Measure how much is missing."""
        height, width = v2.query_size(flat_inputs)
        return {"padding": [0, 0, max(0, self.sides[1] - width), max(0, self.sides[0] - height)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Pad one tv_tensor; other inputs pass."""
        if not any(params["padding"]):
            return inpt
        return self._call_kernel(functional.pad, inpt, params["padding"], fill=_outside(inpt, self.colour))


class Turn(v2.Transform):
    """Turn an image about its centre, in 60 % of cases, as SimpleBaseline does (1804.06208, Section 3.1).

    Args:
        degrees: deviation of the angle, which is normal and at most twice this.
        colour: what is outside of an image, 0 to 255.
    """

    def __init__(self, degrees: float, *, colour: Sequence[int] = IMAGENET.colour) -> None:
        super().__init__()
        self.degrees = degrees
        self.colour = list(colour)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the angle, in degrees."""
        angle = float(torch.randn(()).clamp(-2, 2)) * self.degrees
        return {"angle": angle if torch.rand(()) < TURN_SHARE else 0.0}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Turn one tv_tensor; other inputs pass."""
        if params["angle"] == 0:
            return inpt
        fill = _outside(inpt, self.colour)
        return self._call_kernel(
            functional.rotate, inpt, params["angle"], interpolation=v2.InterpolationMode.BILINEAR, fill=fill
        )


class Mirror(v2.Transform):
    """Mirror half of the images.

    torchvision's releases differ in whether x of a keypoint becomes W - x or W - 1 - x; here it is W - x, as for boxes.

    Args:
        p: share of the images that are mirrored.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose whether to."""
        return {"mirrored": bool(torch.rand(1) < self.p)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Mirror one tv_tensor; other inputs pass."""
        if not params["mirrored"]:
            return inpt
        if not isinstance(inpt, tv_tensors.KeyPoints):
            return self._call_kernel(functional.horizontal_flip, inpt)
        x, y = inpt.as_subclass(Tensor).unbind(-1)
        return tv_tensors.wrap(torch.stack([inpt.canvas_size[1] - x, y], dim=-1), like=inpt)


def _resized_map(inpt: tv_tensors.Mask, size: list[int]) -> Any:
    """Return a mask or a map, each pixel the one that lies where its centre lies."""
    plain = inpt.as_subclass(Tensor)[None]
    return tv_tensors.wrap(functional.resize_image(plain, size, v2.InterpolationMode.NEAREST_EXACT)[0], like=inpt)


def _crop_size(height: int, width: int | None) -> Size:
    size = (height, height if width is None else width)
    if min(size) < 1:
        raise InputError(f"crop {min(size)} must be at least 1 pixel")
    return size


def _outside(inpt: Any, colour: list[int]) -> Any:
    """Return what lies outside of an image, a mask or a map."""
    return colour if isinstance(inpt, tv_tensors.Image) else OUTSIDE.get(type(inpt), 0)


def normalised(image: Tensor, normalisation: Normalisation = IMAGENET) -> Tensor:
    """Return an image uint8 [3, H, W] as float32, less the mean and over the deviation."""
    return normalised_by(image, *pixel_scale(normalisation))


def normalised_by(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return images uint8 [..., 3, H, W] as float32, less the mean and over the deviation, which lie where they lie."""
    return images.to(torch.float32, memory_format=torch.contiguous_format).sub_(mean).div_(std)


def pixel_scale(normalisation: Normalisation, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of pixels from 0 to 255, [3, 1, 1] each."""
    mean, std = (torch.tensor(values).mul(255)[:, None, None] for values in (normalisation.mean, normalisation.std))
    return mean.to(device), std.to(device)
