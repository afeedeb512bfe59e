"""Judging architectures: the losses that weights learn from, and the scores that architectures are compared by.

A search judges each architecture by a micro-batch. :class:`Judge` compares any number of them on the same images, as
sub-networks of a supernet whose weights stand still.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Batch, Features, Source, Target, TargetDict
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.loader import build_loader
from fbnetv5.engine.batch_norm import batch_statistics
from fbnetv5.engine.divergence import DIVERGED
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.tasks.multitask import MultitaskNet

BATCH_SIZE = 64  # images whose statistics BN normalises by, where there are as many


class Judged(NamedTuple):
    """Losses and scores of images by task, of the tasks that one of them is labelled for."""

    losses: dict[str, Tensor]
    scores: dict[str, Tensor]


def judge(
    model: MultitaskNet,
    features: Features,
    images: Tensor,
    targets: list[TargetDict],
    config: RunConfig,
    *key: int,
    differentiable: bool = False,
) -> Judged:
    """Return the losses of features, and the scores that ``search.compare`` names.

    Args:
        model: whose network gave ``features`` for ``images``.
        features, images, targets: as in :meth:`MultitaskNet.losses`.
        config: of the search.
        key: of what is random in heads, beside the seed.
        differentiable: whether the scores have a graph as well.
    """
    device = images.device
    with autocast(device, config.runtime.precision):
        with forked(config.seed, Purpose.HEADS, *key, device=device):
            losses = model.losses(features, images, targets)
        if config.search.compare == "loss":
            return Judged(losses, losses)
        with torch.set_grad_enabled(differentiable), forked(config.seed, Purpose.SCORES, *key, device=device):
            return Judged(losses, model.scores(features, images, targets, losses))


class Judge:
    """Scores of sub-networks of a supernet, all on the same images; lower is better.

    BN normalises by the statistics of each batch of them, as it did while the weights were learnt, so that each
    architecture has statistics of its own. The trunk runs once for all architectures.

    Args:
        model: the supernet with its heads; its weights, statistics and mode stay as they are.
        batches: of images, labelled for each task at least once.
        config: of the search.

    Raises:
        InputError: no image is labelled for a task.
    """

    def __init__(self, model: MultitaskNet, batches: Sequence[Batch], config: RunConfig) -> None:
        self.model = model
        self.config = config
        self.batches = batches
        self.images = [
            batch.images.to(WEIGHT_DTYPES[config.runtime.precision], memory_format=torch.channels_last)
            for batch in batches
        ]
        counts = [[len(rows) for rows in model.labelled(batch.targets).values()] for batch in batches]
        self.counts = torch.tensor(counts, dtype=torch.float64)  # [batches, T]
        for name, count in zip(model.tasks, self.counts.sum(dim=0).tolist(), strict=True):
            if not count:
                raise InputError(f"no image that architectures are to be compared on is labelled for '{name}'")
        self.parts = {  # of each task alone, whose randomness is then its own
            name: MultitaskNet(model.network, {name: task}, {name: model.heads[name]})
            for name, task in model.tasks.items()
        }
        with self._judging():
            self.trunk = [model.network.partitions(images, len(model.network.trunk)) for images in self.images]

    def scores(
        self, topologies: Sequence[Topology], wanted: Sequence[Sequence[bool]] | None = None
    ) -> Iterator[Tensor]:
        """Yield the score of each topology for each task, float64 [T]: the mean over the labelled images.

        Args:
            topologies: M of them.
            wanted: for each of them, which tasks want it; NaN is the score of the others. All do if None.

        Raises:
            InputError: one is not finite.
        """
        for number, topology in enumerate(topologies):
            wants = [True] * len(self.parts) if wanted is None else wanted[number]
            names = list(itertools.compress(self.parts, wants))
            with self._judging():
                found = [self._scores(index, topology, names) for index in range(len(self.batches))]
            parts = torch.tensor([[one.get(name, 0.0) for name in self.parts] for one in found], dtype=torch.float64)
            scores = (parts * self.counts).sum(dim=0) / self.counts.sum(dim=0)
            if not scores.isfinite().all():
                raise InputError(f"the score of an architecture of the supernet is not finite. {DIVERGED}")
            yield scores.masked_fill(~torch.tensor(wants), torch.nan)

    def _scores(self, index: int, topology: Topology, names: Sequence[str]) -> dict[str, float]:
        """Return the scores of the tasks that a batch has labels for; what is random is the same for each."""
        images, targets = self.images[index], self.batches[index].targets
        paths = tuple(sorted({self.model.tasks[name].path for name in names}))
        features = self.model.network.stages(self.trunk[index], topology.prune(paths))
        by_loss = self.config.search.compare == "loss"
        found: dict[str, float] = {}
        for name in names:
            part = self.parts[name]
            with forked(self.config.seed, Purpose.HEADS if by_loss else Purpose.SCORES, index, device=images.device):
                scores = (part.losses if by_loss else part.scores)(features, images, targets)
            found |= {name: float(score) for name, score in scores.items()}
        return found

    def _judging(self) -> AbstractContextManager[None]:
        return _judging(self.model, self.images[0].device, self.config.runtime.precision)


@contextlib.contextmanager
def _judging(model: MultitaskNet, device: torch.device, precision: str) -> Iterator[None]:
    """Within the context heads give losses, BN has each batch's statistics, and nothing drops out or has a gradient."""
    with torch.no_grad(), autocast(device, precision), batch_statistics(model):
        for module in model.heads.modules():
            module.training = not isinstance(module, _DropoutNd)
        yield


def plain_batches(
    config: RunConfig,
    source: Source,
    targets: Collection[Target],
    world: World,
    batch_size: int = BATCH_SIZE,
    *,
    normalisation: Normalisation,
) -> list[Batch]:
    """Return all images of a source in batches of equal size, without random augmentation but crops.

    There are as few batches of at most ``batch_size`` as hold them; the remainder of the division, fewer images than
    batches, comes in none (:func:`num_whole`). Every process gets all images.
    """
    size = len(source) // math.ceil(len(source) / batch_size)
    side = max(config.data.short_side, config.data.crop or 0)  # which a random scale or area may fill, and this must
    longest = None if config.data.long_side is None else max(config.data.long_side, side)
    plain = replace(
        config.data,
        short_side=side,
        long_side=longest,
        flip=False,
        flip_pairs=[],
        color="none",
        scale=None,
        area=None,
        rotation=None,
    )
    batches = build_loader(
        plain,
        source,
        targets,
        World(rank=0, size=1, device=world.device),
        steps=range(len(source) // size),
        batch_size=size,
        workers=config.runtime.workers,
        seed=0,
        normalisation=normalisation,
    )
    return [batch.to(world.device) for batch in batches]


def num_whole(most: int, batch_size: int = BATCH_SIZE) -> int:
    """Return the largest number of images, at most ``most``, that come in batches of :func:`plain_batches` whole."""
    return next(count for count in range(most, -1, -1) if count == 0 or count % math.ceil(count / batch_size) == 0)
