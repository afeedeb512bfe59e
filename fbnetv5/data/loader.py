"""From a source of images to a rank's batches; the sources themselves come from ``data.sources``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Batch, Source, Target, checked
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.augmentation import build_augmentation
from fbnetv5.data.collate import collate
from fbnetv5.data.dataset import MultitaskDataset, PreparedDataset
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.sampler import StepSampler
from fbnetv5.data.subset import Subset


def build_loader(
    config: RunConfig, source: Source, targets: Iterable[Target], world: World, start_step: int, num_steps: int
) -> Iterator[Batch]:
    """Yield this rank's batches of the steps ``start_step`` .. ``num_steps - 1`` of a search.

    Raises:
        InputError: an image cannot be read or its targets are wrong; the message names it.
    """
    wanted = list(dict.fromkeys(targets))
    return _augmented(config, source, wanted, world, config.search.batch_size, range(start_step, num_steps))


def build_train_loader(
    config: RunConfig, source: Source, target: Target, world: World, start_step: int, num_steps: int
) -> Iterator[Batch]:
    """Yield this rank's batches of the steps ``start_step`` .. ``num_steps - 1`` of a final model's training.

    They hold images that are labelled for ``target`` alone, and an epoch is one pass over these.

    Raises:
        InputError: as :func:`build_loader`, or no image is labelled for ``target``.
    """
    labelled = Subset(source, source.labelled(target.name))
    if len(labelled) == 0:
        raise InputError(f"no image of the training split is labelled with '{target.name}'; give its labels")
    steps = range(start_step, num_steps)
    return _augmented(config, labelled, [target], world, config.train.batch_size, steps, keep_unknown=True)


def build_eval_loader(
    source: Source,
    target: Target | None,
    spec: InputSpec,
    world: World,
    *,
    batch_size: int,
    workers: int,
    undecodable: str,
) -> Iterator[Batch]:
    """Yield this rank's share of a source, every ``world.size``-th image in order, as a trained model takes them.

    Args:
        source: of the images, each of which comes once.
        target: what is read beside the image, in pixels of the stored image; None reads nothing.
        spec: how an image becomes the model's input.
        world: this process among those that share the images.
        batch_size: images at a time; the last batch may be smaller.
        workers: processes that load images.
        undecodable: with "skip" an image that cannot be read is left out, and its batch says so in ``skipped``; the
            batch may be empty then. "error" stops.

    Raises:
        InputError: an image cannot be read or its target is wrong; the message names it.
    """
    loader = DataLoader(
        PreparedDataset(source, target, spec, undecodable=undecodable),  # type: ignore[arg-type]  # a config's value
        batch_size=batch_size,
        sampler=range(world.rank, len(source), world.size),
        num_workers=workers,
        collate_fn=functools.partial(collate, multiple=spec.multiple),
        pin_memory=world.device.type == "cuda",
        generator=torch.Generator(),  # else each evaluation would draw from the global one
    )
    return (checked(batch) for batch in loader)


def _augmented(
    config: RunConfig,
    source: Source,
    targets: Sequence[Target],
    world: World,
    batch_size: int,
    steps: range,
    *,
    keep_unknown: bool = False,
) -> Iterator[Batch]:
    """Yield this rank's augmented batches of ``steps``; ``batch_size`` counts the images of all ranks."""
    data = config.data
    dataset = MultitaskDataset(
        source,
        targets,
        build_augmentation(data, targets, classes=source.classes, keep_unknown=keep_unknown),
        seed=config.seed,
        undecodable=data.undecodable,  # type: ignore[arg-type]  # one of the two, checked with the configuration
    )
    sampler = StepSampler(
        len(source),
        batch_size,
        num_steps=steps.stop,
        seed=config.seed,
        start_step=steps.start,
        rank=world.rank,
        world_size=world.size,
    )
    multiple = STRIDES[-1] if data.crop is None else 1  # a crop has the size that it was asked for
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=config.runtime.workers,
        collate_fn=functools.partial(collate, multiple=multiple, targets=targets),
        pin_memory=world.device.type == "cuda",
    )
    return (checked(batch) for batch in loader)
