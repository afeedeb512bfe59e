"""From the ``data`` node of a config to the augmentation of training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.keypoints import can_mirror, mirror_order
from fbnetv5.data.transforms import JointTransform, train_transform


def build_augmentation(
    config: DataConfig,
    targets: Sequence[Target],
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    keep_unknown: bool = False,
    normalisation: Normalisation = IMAGENET,
) -> JointTransform:
    """Return the augmentation that ``config`` describes, for images with ``targets``.

    Args:
        config: the ``data`` node.
        targets: what is augmented with the image.
        classes: the class names of each target that the data have; those of keypoints say which is left and which is
            right.
        keep_unknown, normalisation: see :class:`~fbnetv5.data.transforms.JointTransform`.

    Raises:
        InputError: two keys contradict each other, or do not suit the targets; or images are mirrored, and the names of
            keypoints do not tell which are left and right.
    """
    check_augmentation(config, targets)
    known = classes or {}
    pose = [t.name for t in targets if t.kind is TargetKind.KEYPOINTS]
    swapped = mirrored_classes(config, {name: names for name, names in known.items() if name not in pose})
    swapped |= {name: _mirrored_points(name, known[name]) for name in pose if config.flip}
    return train_transform(
        config.short_side,
        config.crop,
        crop_width=config.crop_width,
        centred=config.crop_place == "center",
        long_side=config.long_side,
        scale=None if config.scale is None else (config.scale[0], config.scale[1]),
        area=None if config.area is None else (config.area[0], config.area[1]),
        rotation=config.rotation,
        flip=config.flip,
        color=config.color,  # type: ignore[arg-type]  # one of the three, checked with the configuration
        keep_unknown=keep_unknown,
        mirrored=swapped,
        normalisation=normalisation,
    )


def _mirrored_points(target: str, names: Sequence[str]) -> list[int]:
    order = mirror_order(names)
    if not can_mirror(names):
        raise InputError(
            f"the names of '{target}' ({', '.join(names[:3])} ...) do not tell left from right, which mirrored images "
            "would exchange: set data.flip=false, or call them left_... and right_..."
        )
    return order


def mirrored_classes(config: DataConfig, classes: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Return what each class id becomes in a mirrored image, of the targets that ``data.flip_pairs`` has classes of.

    Args:
        config: the ``data`` node.
        classes: the class names of each target.

    Raises:
        InputError: a pair is none, a class is in two pairs, no target has it, or a target has one of a pair alone.
    """
    if config.flip_pairs and not config.flip:
        raise InputError("data.flip_pairs has no effect with data.flip=false; remove one of the two")
    paired = [name for pair in config.flip_pairs for name in pair]
    if any(len(pair) != 2 for pair in config.flip_pairs) or len(set(paired)) < len(paired):
        raise InputError(f"data.flip_pairs={config.flip_pairs} should be pairs of classes, each class in one of them")
    swapped: dict[str, list[int]] = {}
    for first, second in config.flip_pairs:
        owners = [target for target, names in classes.items() if first in names or second in names]
        for target in owners:
            names = list(classes[target])
            if first not in names or second not in names:
                lacking = second if first in names else first
                raise InputError(f"data.flip_pairs: '{target}' has no class '{lacking}'{nearest(lacking, names)}")
            one, other = names.index(first), names.index(second)
            order = swapped.setdefault(target, list(range(len(names))))
            order[one], order[other] = other, one
        if not owners:
            every = [name for names in classes.values() for name in names]
            raise InputError(f"data.flip_pairs: no target has a class '{first}'{nearest(first, every)}")
    return swapped


def check_augmentation(config: DataConfig, targets: Sequence[Target]) -> None:
    """Check what :func:`build_augmentation` takes.

    Raises:
        InputError: two keys contradict each other, or do not suit the targets.
    """
    if config.area is not None:
        if len(config.area) != 2 or not 0 < config.area[0] <= config.area[1] <= 1:
            raise InputError(f"data.area={config.area} should be two shares of an image, such as [0.08, 1.0]")
        if config.crop is None:
            raise InputError("data.area cuts crops of random size: give data.crop, the side that they are resized to")
        for key in ("scale", "long_side", "crop_width"):
            if getattr(config, key) is not None:
                raise InputError(f"data.{key} has no effect with data.area; remove one of the two")
        if config.crop_place != "random":
            raise InputError(f"data.crop_place={config.crop_place} has no effect with data.area; remove one of the two")
    if config.crop_width is not None and config.crop is None:
        raise InputError(f"data.crop_width={config.crop_width} is the width of a crop: give data.crop, its height")
    if config.scale is not None and (len(config.scale) != 2 or not 0 < config.scale[0] <= config.scale[1] < math.inf):
        raise InputError(f"data.scale={config.scale} should be two factors on the size of an image, such as [0.5, 2.0]")
    if config.long_side is not None and config.long_side < config.short_side:
        raise InputError(
            f"data.long_side={config.long_side} is below data.short_side={config.short_side}; raise it or remove it"
        )
    boxes = [target.name for target in targets if target.kind is TargetKind.BOXES]
    if config.rotation is not None and boxes:
        raise InputError(
            f"data.rotation={config.rotation} would make {boxes[0]}, which stay upright, larger than their objects; "
            "remove it"
        )
    placed = [target.name for target in targets if target.kind is not TargetKind.SCALAR]
    if config.color == "randaugment" and placed:
        raise InputError(
            f"data.color=randaugment also moves pixels, which {', '.join(placed)} would not follow; "
            "use data.color=photometric"
        )


def crop_side(data: DataConfig) -> int:
    """Return ``data.crop``. Raises InputError where there is none and batches of whole images are not possible."""
    if data.crop is None:
        raise InputError("data.crop=null: a supernet is trained on crops of one size; give its side in pixels")
    if data.crop_width is not None:
        raise InputError(f"data.crop_width={data.crop_width}: a supernet is trained on squares; remove it")
    return data.crop


def check_crop(data: DataConfig) -> None:
    """Raise InputError for a crop that no image would fill."""
    if data.crop is not None and data.area is None and data.scale is None and data.crop > data.short_side:
        raise InputError(
            f"data.crop={data.crop} is larger than data.short_side={data.short_side}: images would be padded. Raise "
            "data.short_side or lower data.crop"
        )
