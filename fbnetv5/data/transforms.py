"""Joint augmentation of an image and its targets, by the kind of each target, on ``torchvision.transforms.v2``.

Geometry moves everything together: images are resized with antialiasing; masks and dense maps take the nearest pixel;
boxes follow in closed form, are clipped to the crop, and dropped with their labels where too little of them is left.
What lies outside of an image is unknown: 255 in masks, NaN in dense maps. It is the mean colour in images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fbnetv5.data.multitask import IGNORE, Target, TargetKind
from fbnetv5.errors import InputError

IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)
MIN_BOX_SIDE = 2.0  # pixels that must be left of both sides of a box


def train_transform(
    short_side: int, crop: int, *, flip: bool = True, area: tuple[float, float] | None = None
) -> JointTransform:
    """Resize the short side to ``short_side`` pixels, cut a random square of ``crop`` pixels, mirror half of them.

    With ``area``, the cut covers a random share of the image between the two given, at a random aspect ratio, and is
    resized to ``crop`` (the usual augmentation of ImageNet); ``short_side`` does not matter then.
    """
    cut: list[v2.Transform] = [Resize(short_side), PadTo(crop), v2.RandomCrop(crop)]
    if area is not None:
        cut = [v2.RandomResizedCrop(crop, scale=area, antialias=True)]
    mirror: list[v2.Transform] = [v2.RandomHorizontalFlip()] if flip else []
    return JointTransform([*cut, *mirror])


def eval_transform(short_side: int, crop: int) -> JointTransform:
    """Resize the short side to ``short_side`` pixels and cut the central square of ``crop`` pixels."""
    return JointTransform([Resize(short_side), PadTo(crop), v2.CenterCrop(crop)])


class JointTransform:
    """Runs v2 transforms on an image with its targets, drops boxes that were cut away, and normalises the image.

    Args:
        transforms: any of ``torchvision.transforms.v2``; together they must give every image one size.
        min_box_side: pixels; a box with a shorter side is dropped, with its label, afterwards.
    """

    def __init__(self, transforms: Sequence[v2.Transform], *, min_box_side: float = MIN_BOX_SIDE) -> None:
        self.pipeline = v2.Compose(transforms)
        self.min_box_side = min_box_side

    def __call__(
        self, image: Tensor, target: dict[str, Any], targets: Sequence[Target]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Augment one image.

        Args:
            image: uint8 [3, H, W].
            target: as ``data.multitask`` describes, any key may be missing.
            targets: the kinds of what ``target`` holds.

        Returns:
            The image, float32 [3, h, w], normalised with ``IMAGE_MEAN`` and ``IMAGE_STD``, and a new target. A labelled
            image whose boxes were all cut away keeps an empty ``boxes``; a map without a known pixel is left out.
        """
        canvas = (image.shape[-2], image.shape[-1])
        moving = [item for item in targets if item.name in target and item.kind is not TargetKind.SCALAR]
        inputs = {item.name: _wrap(target[item.name], item.kind, canvas) for item in moving}
        moved = self.pipeline({"image": tv_tensors.Image(image), **inputs})
        result = dict(target)
        for item in moving:
            value = moved[item.name]
            if item.kind is TargetKind.BOXES:
                value, kept = functional.sanitize_bounding_boxes(value, min_size=self.min_box_side, min_area=0.0)
                result[item.labels_key] = target[item.labels_key][kept.as_subclass(Tensor)]
            result[item.name] = value.as_subclass(Tensor).contiguous()
            if _is_unknown(result[item.name], item.kind):
                del result[item.name]
        return _normalised(moved["image"].as_subclass(Tensor)), result


class DenseMap(tv_tensors.Mask):
    """A map of real numbers, moved as a mask is, but with another value outside of the image."""


OUTSIDE = {
    tv_tensors.Image: [round(255 * mean) for mean in IMAGE_MEAN],
    tv_tensors.Mask: IGNORE,
    DenseMap: float("nan"),
}


class Resize(v2.Transform):
    """Resize the short side; nothing happens to an image that has it already.

    v2's own Resize samples masks at the corner of a pixel, which moves them by up to half a pixel against the boxes.
    """

    def __init__(self, short_side: int) -> None:
        super().__init__()
        if short_side < 1:
            raise InputError(f"short_side {short_side} must be at least 1 pixel")
        self.short_side = short_side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one tv_tensor; other inputs pass."""
        if isinstance(inpt, tv_tensors.Mask):
            plain = inpt.as_subclass(Tensor)[None]
            nearest = v2.InterpolationMode.NEAREST_EXACT
            return tv_tensors.wrap(functional.resize_image(plain, [self.short_side], nearest)[0], like=inpt)
        return self._call_kernel(functional.resize, inpt, [self.short_side], antialias=True)


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


def _wrap(value: Tensor, kind: TargetKind, canvas: tuple[int, int]) -> tv_tensors.TVTensor:
    if kind is TargetKind.BOXES:
        return tv_tensors.BoundingBoxes(value, format="XYXY", canvas_size=canvas)
    return DenseMap(value) if kind is TargetKind.DENSE else tv_tensors.Mask(value)


def _is_unknown(value: Tensor, kind: TargetKind) -> bool:
    """Whether a map says nothing of any pixel, which is to be unlabelled."""
    if kind is TargetKind.MASK:
        return bool((value == IGNORE).all())
    return kind is TargetKind.DENSE and bool(value.isnan().all())


def _normalised(image: Tensor) -> Tensor:
    mean = torch.tensor(IMAGE_MEAN).mul(255)[:, None, None]
    std = torch.tensor(IMAGE_STD).mul(255)[:, None, None]
    return image.float().sub_(mean).div_(std)
