"""Collecting what the processes of a run hold; all of them must call at the same point."""

from __future__ import annotations

from itertools import chain
from typing import Protocol, TypeVar

import torch.distributed as dist
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import NothingToRateError
from fbnetv5.base.types import Target

T = TypeVar("T")


class Named(Protocol):
    """Anything that belongs to one image."""

    @property
    def name(self) -> str:
        """The name of the image."""


Image = TypeVar("Image", bound=Named)


def gather_list(world: World, items: list[T]) -> list[T]:
    """Return the items of all ranks on every rank, in rank order; shares may differ in length.

    Items are pickled between processes of one run: plain values and numpy arrays, nothing on a GPU.
    """
    if world.size == 1:
        return list(items)
    shares: list[list[T]] = [[] for _ in range(world.size)]
    dist.all_gather_object(shares, items)
    return list(chain.from_iterable(shares))


def gather_images(world: World, images: list[Image], target: Target) -> list[Image]:
    """Return the images of all ranks on every rank, sorted by name.

    Raises:
        InputError: there is none, as none is labelled with ``target``.
        ValueError: an image is there more than once.
    """
    every = sorted(gather_list(world, images), key=lambda image: image.name)
    if not every:
        raise NothingToRateError(f"nothing to evaluate: no image is labelled with '{target.name}'")
    if len({image.name for image in every}) < len(every):
        raise ValueError("an image was evaluated more than once")
    return every


def sum_counts(world: World, counts: Tensor) -> Tensor:
    """Return the sum over ranks of an int64 CPU tensor [..., n], on every rank."""
    every = world.gather(counts)  # [..., size * n]
    return every.unflatten(-1, (world.size, counts.shape[-1])).sum(-2)
