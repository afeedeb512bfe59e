"""Puts items together into a batch; images of many sizes are padded to a common one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.types import IGNORE, Batch, Item, LeftOut, LoadFailure, Target, TargetKind

UNKNOWN = {TargetKind.MASK: IGNORE, TargetKind.DENSE: float("nan")}  # what maps are padded with


def collate(
    items: Iterable[Item | LeftOut | LoadFailure], *, multiple: int = 1, targets: Sequence[Target] = ()
) -> Batch:
    """Put items into a batch; with a failure among them, the batch says why and holds nothing else.

    Args:
        items: what a data set returned.
        multiple: height and width of the batch are the least multiples of this that hold every image.
        targets: maps among these lie on the images and are padded with them, with the unknown; others stay as they are.
    """
    loaded: list[Item] = []
    skipped: list[str] = []
    for item in items:
        if isinstance(item, LoadFailure):
            return Batch(torch.empty(0), failure=item.message)
        if isinstance(item, LeftOut):
            skipped.append(item.message)
        else:
            skipped.extend(item.skipped)
            loaded.append(item)
    if not loaded:
        return Batch(torch.empty(0, 3, multiple, multiple), skipped=skipped)
    height, width = (round_up(max(sides), multiple) for sides in zip(*(item.size for item in loaded), strict=True))
    return Batch(
        images=_stack([item.image for item in loaded], height, width),
        targets=[_padded_maps(item.target, targets, height, width) for item in loaded],
        names=[item.name for item in loaded],
        sizes=[item.size for item in loaded],
        original_sizes=[item.original_size for item in loaded],
        skipped=skipped,
    )


def round_up(side: int, multiple: int) -> int:
    """Return the least multiple of ``multiple`` that is not below ``side``."""
    return -(-side // multiple) * multiple


def _stack(images: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Stack [3, h, w] to [N, 3, height, width]; of bytes, the channels of a pixel lie side by side, as they come."""
    if images[0].dtype == torch.uint8:
        pixels = images[0].new_zeros(len(images), height, width, 3)
        for row, image in zip(pixels, images, strict=True):
            row[: image.shape[-2], : image.shape[-1]] = image.permute(1, 2, 0)
        return pixels.permute(0, 3, 1, 2)
    if all(image.shape[-2:] == (height, width) for image in images):
        return torch.stack(list(images))
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[-2], : image.shape[-1]] = image
    return batch


def _padded_maps(target: dict[str, Any], targets: Sequence[Target], height: int, width: int) -> dict[str, Any]:
    padded = {
        item.name: _padded(target[item.name], height, width, UNKNOWN[item.kind])
        for item in targets
        if item.kind in UNKNOWN and item.name in target
    }
    return {**target, **padded}


def _padded(value: Tensor, height: int, width: int, unknown: float) -> Tensor:
    """Pad a map [h, w] to [height, width]."""
    missing = (0, width - value.shape[-1], 0, height - value.shape[-2])
    return torch.nn.functional.pad(value, missing, value=unknown) if any(missing) else value
