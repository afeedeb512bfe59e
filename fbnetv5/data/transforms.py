"""Joint augmentation of an image and its targets, by the kind of each target, on ``torchvision.transforms.v2``.

Geometry moves everything together, as ``data.geometry`` says: boxes follow in closed form, are clipped to the crop, and
dropped with their labels where too little of them is left; keypoints follow, those that leave the image become
unlabelled, and in a mirrored image left and right change places, of keypoints and of such classes. Colours change in
the image alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.types import IGNORE, Size, Target, TargetKind
from fbnetv5.data.geometry import CropOfArea, CropTo, DenseMap, Mirror, PadTo, Resize, SideBySide, Turn, normalised

MIN_BOX_SIDE = 2.0  # pixels that a crop must leave of both sides of a box
MIN_WHOLE_BOX_SIDE = 1.0  # pixels of both sides of a box in a whole image
FRAME = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))  # a corner, what is right of it, what is below
FRAME_KEY = "<frame>"  # of these three points beside the targets, which tell afterwards whether an image was mirrored

ColorChange = Literal["none", "photometric", "randaugment"]


def train_transform(
    short_side: int,
    crop: int | None,
    *,
    crop_width: int | None = None,
    centred: bool = False,
    long_side: int | None = None,
    scale: tuple[float, float] | None = None,
    area: tuple[float, float] | None = None,
    rotation: float | None = None,
    flip: bool = True,
    color: ColorChange = "none",
    keep_unknown: bool = False,
    mirrored: Mapping[str, Sequence[int]] | None = None,
    normalisation: Normalisation = IMAGENET,
) -> JointTransform:
    """Resize the short side to ``short_side`` pixels, cut a random square of ``crop`` pixels, mirror half of them.

    Args:
        short_side: in pixels.
        crop: in pixels; None keeps whole images, of many sizes.
        crop_width: in pixels, where no square is cut; ``crop`` is then the height.
        centred: cut at the centre instead of a random place.
        long_side: the most pixels that the long side may have; then the short side is smaller.
        scale: ``short_side`` is multiplied by a random factor between these two.
        area: the cut covers a random share of the image between these two, at a random aspect ratio, and is resized to
            ``crop`` (the usual augmentation of ImageNet); ``short_side``, ``long_side`` and ``scale`` do not matter.
        rotation: images are turned by angles of this deviation, in degrees (:class:`~fbnetv5.data.geometry.Turn`).
        flip: whether to mirror half of the images.
        color: "photometric" is SSD's distortion, "randaugment" is RandAugment, which also moves pixels: for
            images with SCALAR targets alone.
        keep_unknown, mirrored, normalisation: see :class:`JointTransform`.

    Raises:
        InputError: a side is below one pixel, or ``area`` comes without ``crop``.
    """
    colour = normalisation.colour
    colors = [] if color == "none" else [SideBySide(), OnImage(_color_change(color, colour))]
    turns = [] if rotation is None else [SideBySide(), Turn(rotation, colour=colour)]
    steps: list[v2.Transform]
    if area is not None:
        if crop is None:
            raise InputError("crops of random area need the side that they are resized to, in pixels")
        steps = [*turns, CropOfArea(crop, scale=area, antialias=True), *colors]
    else:
        resize = Resize(short_side, long_side=long_side, scale=scale, nearest_size=crop is None)
        if crop is None:
            steps = [resize, *turns, *colors]
        else:
            cut, pad = CropTo(crop, crop_width, centred=centred), PadTo(crop, crop_width, colour=colour)
            steps = [resize, *turns, cut, *colors, pad]  # padded last, with a colour that does not change
    if flip:
        steps.append(Mirror())
    min_box_side = MIN_WHOLE_BOX_SIDE if crop is None else MIN_BOX_SIDE
    return JointTransform(
        steps, min_box_side=min_box_side, keep_unknown=keep_unknown, mirrored=mirrored, normalisation=normalisation
    )


def _color_change(color: ColorChange, outside: list[int]) -> v2.Transform:
    return v2.RandomPhotometricDistort() if color == "photometric" else v2.RandAugment(fill=outside)


def eval_transform(short_side: int, crop: int) -> JointTransform:
    """Resize the short side to ``short_side`` pixels and cut the central square of ``crop`` pixels."""
    return JointTransform([Resize(short_side), PadTo(crop), v2.CenterCrop(crop)])


class OnImage(v2.Transform):
    """Changes the image alone; masks, maps and boxes pass."""

    def __init__(self, change: v2.Transform) -> None:
        super().__init__()
        self.change = change

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one tv_tensor if it is an image."""
        return self.change(inpt) if isinstance(inpt, tv_tensors.Image) else inpt


OURS = (Resize, CropTo, PadTo, Turn, Mirror, SideBySide, OnImage)  # they take tv_tensors alone


class JointTransform:
    """Runs v2 transforms on an image with its targets, drops boxes that were cut away, and normalises the image.

    Args:
        transforms: any of ``torchvision.transforms.v2``; ``collate`` pads where they leave images of many sizes.
        min_box_side: pixels; a box with a shorter side is dropped, with its label, afterwards.
        keep_unknown: a map without a known pixel, or keypoints none of which is labelled, stay, instead of leaving the
            image unlabelled.
        mirrored: for each target by name, what its class ids become in a mirrored image; of KEYPOINTS, which row stands
            for which point there, as ``data.keypoints.mirror_order`` says. By default they stay.
        normalisation: of the network's weights.
    """

    def __init__(
        self,
        transforms: Sequence[v2.Transform],
        *,
        min_box_side: float = MIN_BOX_SIDE,
        keep_unknown: bool = False,
        mirrored: Mapping[str, Sequence[int]] | None = None,
        normalisation: Normalisation = IMAGENET,
    ) -> None:
        self.transforms = tuple(transforms)
        self.normalisation = normalisation
        self.min_box_side = min_box_side
        self.keep_unknown = keep_unknown
        self.mirrored = mirrored or {}
        self.normalises = True

    def __call__(
        self, image: Tensor, target: dict[str, Any], targets: Sequence[Target]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Augment one image.

        Args:
            image: uint8 [3, H, W].
            target: as ``base.types`` describes, any key may be missing.
            targets: the kinds of what ``target`` holds.

        Returns:
            The image, float32 [3, h, w], normalised, and a new target. A labelled image whose boxes were all
            cut away keeps an empty ``boxes``; a map without a known pixel, or keypoints none of which is labelled, are
            left out.
        """
        canvas = (image.shape[-2], image.shape[-1])
        moving = [item for item in targets if item.name in target and item.kind is not TargetKind.SCALAR]
        inputs = {item.name: _wrap(target[item.name], item.kind, canvas) for item in moving}
        frame = {FRAME_KEY: tv_tensors.KeyPoints(torch.tensor(FRAME), canvas_size=canvas)} if self.mirrored else {}
        moved = self._moved({"image": tv_tensors.Image(image), **inputs, **frame})
        swapped = self.mirrored if frame and _is_mirrored(moved[FRAME_KEY]) else {}
        result = dict(target)
        for item in moving:
            value = moved[item.name]
            if item.kind is TargetKind.BOXES:
                value, kept = kept_boxes(value, self.min_box_side)
                result[item.labels_key] = target[item.labels_key][kept]
            elif item.kind is TargetKind.KEYPOINTS:
                value = moved_keypoints(value, target[item.name][:, 2])
            result[item.name] = value.as_subclass(Tensor).contiguous()
            if not self.keep_unknown and _is_unknown(result[item.name], item.kind):
                del result[item.name]
        for item in targets:
            if item.name in swapped and item.name in result:
                _swap_sides(result, item, swapped[item.name])
        pixels = moved["image"].as_subclass(Tensor)
        return normalised(pixels, self.normalisation) if self.normalises else pixels, result

    def of_bytes(self) -> JointTransform:
        """Return the same with images that stay uint8, to be normalised as a batch, where it is used."""
        same = copy.copy(self)
        same.normalises = False
        return same

    def _moved(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what the pipeline makes of the image and what lies on it."""
        for transform in self.transforms:
            if isinstance(transform, OURS):  # all of torchvision's way through nested inputs is as long as the work
                params = transform.make_params(list(values.values()))
                values = {name: transform.transform(value, params) for name, value in values.items()}
            else:
                values = transform(values)
        return values


def kept_boxes(moved: tv_tensors.BoundingBoxes, min_side: float) -> tuple[Tensor, Tensor]:
    """Return the boxes [m, 4], cut to their image, with no side below ``min_side``, and which those are, [n].

    Where an image was resized, rounding may have left a box that ends with it a little over its border.
    """
    height, width = moved.canvas_size
    boxes = moved.as_subclass(Tensor)
    boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
    first, last = boxes.split(2, dim=1)
    kept = (last - first >= min_side).all(dim=1)
    return boxes[kept], kept


def moved_keypoints(moved: tv_tensors.KeyPoints, visibility: Tensor) -> Tensor:
    """Return keypoints [K, 3] of their moved positions [K, 2].

    Points that were unlabelled, or lie outside of the image now, are 0, 0, 0.

    Args:
        moved: positions in the new image.
        visibility: of the points before, [K].
    """
    height, width = moved.canvas_size
    points = moved.as_subclass(Tensor)
    inside = (points >= 0).all(1) & (points <= points.new_tensor([width, height])).all(1)
    kept = (inside & (visibility > 0))[:, None]
    keypoints = torch.cat([points, visibility[:, None]], dim=1)
    return torch.where(kept, keypoints, torch.zeros_like(keypoints))


def _is_mirrored(frame: tv_tensors.KeyPoints) -> bool:
    """Whether an image was mirrored, by where the points of ``FRAME`` lie in it now, [3, 2]."""
    corner, right, below = frame.as_subclass(Tensor)
    right, below = right - corner, below - corner
    return bool(right[0] * below[1] - right[1] * below[0] < 0)


def _swap_sides(result: dict[str, Any], item: Target, order: Sequence[int]) -> None:
    """Let the left and the right of a target change places."""
    if item.kind is TargetKind.KEYPOINTS:
        result[item.name] = result[item.name][list(order)]
    elif item.kind is TargetKind.SCALAR:
        result[item.name] = order[result[item.name]]
    elif item.kind is TargetKind.BOXES:
        result[item.labels_key] = torch.tensor(order)[result[item.labels_key]]
    elif item.kind is TargetKind.MASK:
        table = torch.arange(IGNORE + 1, dtype=torch.uint8)
        table[: len(order)] = torch.tensor(order, dtype=torch.uint8)
        result[item.name] = table[result[item.name].long()]


def _wrap(value: Tensor, kind: TargetKind, canvas: Size) -> tv_tensors.TVTensor:
    if kind is TargetKind.BOXES:
        return tv_tensors.BoundingBoxes(value, format="XYXY", canvas_size=canvas)
    if kind is TargetKind.KEYPOINTS:
        return tv_tensors.KeyPoints(value[:, :2], canvas_size=canvas)
    return DenseMap(value) if kind is TargetKind.DENSE else tv_tensors.Mask(value)


def _is_unknown(value: Tensor, kind: TargetKind) -> bool:
    """Whether a map says nothing of any pixel, or keypoints of any point, which is to be unlabelled."""
    if kind is TargetKind.MASK:
        return int(value.min()) == IGNORE
    if kind is TargetKind.KEYPOINTS:
        return bool((value[:, 2] == 0).all())
    return kind is TargetKind.DENSE and bool(value.isnan().all())
