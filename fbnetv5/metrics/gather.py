"""Collects what the processes of a run hold; all of them must call at the same point."""

from __future__ import annotations

from itertools import chain
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from fbnetv5.base.distributed import World

T = TypeVar("T")


def gather_list(world: World, items: list[T]) -> list[T]:
    """Return the items of all ranks on every rank, in rank order; shares may differ in length.

    Items are pickled between processes of one run: plain values and numpy arrays, nothing on a GPU.
    """
    if world.size == 1:
        return list(items)
    shares: list[list[T]] = [[] for _ in range(world.size)]
    dist.all_gather_object(shares, items)
    return list(chain.from_iterable(shares))


def sum_counts(world: World, counts: Tensor) -> Tensor:
    """Return the sum over ranks of an int64 CPU tensor [..., n], on every rank."""
    every = world.gather(counts)  # [..., size * n]
    return every.unflatten(-1, (world.size, counts.shape[-1])).sum(-2)
