"""Checks of networks and batches before the frameworks run, so that a wrong one is a clear message."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.head import ascending_paths


def consecutive_paths(framework: str, channels: Sequence[int], paths: Sequence[int]) -> tuple[int, ...]:
    """Return the paths that a framework reads, ascending.

    Args:
        framework: its name, for messages.
        channels: of the network's features, one number a path; 0 = the network has no such path.
        paths: the paths asked for.

    Raises:
        InputError: a path is out of range or the network has none, or one between two others is left out.
    """
    chosen = ascending_paths(*paths)
    for path in chosen:
        if channels[path] == 0:
            raise InputError(
                f"{framework} reads path {path}, which the network does not have; choose others for model.head"
            )
    if not chosen or any(second != first + 1 for first, second in itertools.pairwise(chosen)):
        raise InputError(
            f"{framework} needs paths that follow one another, not {list(paths)}: its levels halve in size"
        )
    return chosen


def check_strides(framework: str, features: Features, paths: Sequence[int], image_size: Size) -> None:
    """Check that each path has its nominal stride, which anchors are laid out by.

    Raises:
        InputError: a feature is a position larger or smaller than that stride makes it, rounding aside.
    """
    for path in paths:
        found = (int(features[path].shape[-2]), int(features[path].shape[-1]))
        if any(abs(got - side / STRIDES[path]) > 1 for got, side in zip(found, image_size, strict=True)):
            raise InputError(
                f"{framework} expects stride {STRIDES[path]} on path {path}, but images of {image_size[0]}x"
                f"{image_size[1]} have a feature of {found[0]}x{found[1]} there; its output_stride should be 32"
            )


def check_batch(framework: str, layer: nn.Module, count: int) -> None:
    """Check that a batch is large enough for a layer that normalises one position an image.

    Raises:
        InputError: it is to normalise a single value a channel by their own mean.
    """
    if layer.training and count == 1 and not any(isinstance(norm, nn.SyncBatchNorm) for norm in layer.modules()):
        raise InputError(
            f"{framework} normalises a level of one position over the images of a batch: train with at least 2 images "
            "a process at a time (train.batch_size, train.accumulate)"
        )


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the type that boxes and losses are computed in: half precision cannot tell neighbouring pixels apart."""
    return torch.promote_types(dtype, torch.float32)
