"""The order in which a run sees its images: a pure function of seed and step, whatever the ranks and the restarts."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.base.types import KeyedIndex


class StepSampler(Sampler[list[KeyedIndex]]):
    """Yields, step by step, this rank's share of the global batch; pass it as ``batch_sampler`` to a DataLoader.

    The images are an endless sequence of epochs, each a permutation of its own, and a batch is the next ``batch_size``
    of them: batches run across the border of epochs and may be larger than one. A rank takes a contiguous slice of the
    batch, so one process sees exactly what many see together. The key of a draw is ``(step, position in the batch)``.

    Args:
        num_images: in the data set.
        batch_size: of all ranks together; a multiple of ``world_size``.
        start_step: the first step to yield, for a resumed run.
        num_steps: of the whole run; the steps ``start_step`` to ``num_steps - 1`` are yielded.
        seed: of the run.
        rank, world_size: of this process.

    Raises:
        InputError: there is no image, or the batch cannot be shared evenly.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        *,
        num_steps: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_images < 1:
            raise InputError("cannot draw batches: the data set holds no image")
        if batch_size < 1 or batch_size % world_size:
            raise InputError(f"batch_size {batch_size} cannot be shared evenly by {world_size} processes")
        self.num_images = num_images
        self.batch_size = batch_size
        self.start_step = start_step
        self.num_steps = num_steps
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return max(0, self.num_steps - self.start_step)

    def __iter__(self) -> Iterator[list[KeyedIndex]]:
        share = self.batch_size // self.world_size
        own = range(self.rank * share, (self.rank + 1) * share)
        for step in range(self.start_step, self.num_steps):
            images = images_of_step(step, self.num_images, self.batch_size, self.seed)
            yield [
                KeyedIndex(image, (step, position))
                for position, image in zip(own, images[own.start : own.stop].tolist(), strict=True)
            ]


def images_of_step(step: int, num_images: int, batch_size: int, seed: int) -> torch.Tensor:
    """Return the images of all ranks' batches of a step, int64 [batch_size], as :class:`StepSampler` draws them."""
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = positions // num_images, positions % num_images
    parts = [_epoch_order(num_images, seed, int(epoch))[places[epochs == epoch]] for epoch in epochs.unique()]
    return torch.cat(parts)


@functools.lru_cache(maxsize=4)
def _epoch_order(num_images: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(num_images, generator=generator(seed, Purpose.ORDER, epoch))
