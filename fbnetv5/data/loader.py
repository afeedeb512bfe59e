"""From a source of images to a rank's batches; the sources themselves come from ``data.sources``."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.types import Batch, Item, LeftOut, LoadFailure, Source, Target, checked
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.augmentation import build_augmentation
from fbnetv5.data.collate import collate
from fbnetv5.data.dataset import MultitaskDataset, PreparedDataset
from fbnetv5.data.geometry import normalised_by, pixel_scale
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.packing import PackedBatch, pack
from fbnetv5.data.sampler import StepSampler
from fbnetv5.data.subset import Subset


def build_loader(
    data: DataConfig,
    source: Source,
    targets: Iterable[Target],
    world: World,
    *,
    steps: range,
    batch_size: int,
    workers: int,
    seed: int,
    keep_unknown: bool = False,
    normalisation: Normalisation = IMAGENET,
) -> Iterator[Batch]:
    """Yield this rank's augmented batches of ``steps`` on its device, of any images, as a search takes them.

    Args:
        data: how images are augmented, and what becomes of those that cannot be read.
        source: an epoch is a pass over it.
        targets: what is read beside the image; an image may lack any of them.
        world: this process among those that share a batch.
        steps: of consecutive numbers; the batch of a step does not depend on where they begin.
        batch_size: images a step, over all ranks.
        workers: processes that load images.
        seed: of order and augmentation.
        keep_unknown, normalisation: see :class:`~fbnetv5.data.transforms.JointTransform`.

    Raises:
        InputError: an image cannot be read or its targets are wrong; the message names it.
    """
    wanted = list(dict.fromkeys(targets))
    augmentation = build_augmentation(
        data, wanted, classes=source.classes, keep_unknown=keep_unknown, normalisation=normalisation
    )
    dataset = MultitaskDataset(
        source,
        wanted,
        augmentation.of_bytes(),  # a quarter of what workers would hand over, and a device would be sent
        seed=seed,
        undecodable=data.undecodable,  # type: ignore[arg-type]  # one of the two, checked with the configuration
    )
    sampler = StepSampler(
        len(source),
        batch_size,
        num_steps=steps.stop,
        seed=seed,
        start_step=steps.start,
        rank=world.rank,
        world_size=world.size,
    )
    multiple = STRIDES[-1] if data.crop is None else 1  # a crop has the size that it was asked for
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=functools.partial(_packed, multiple=multiple, targets=wanted),
        pin_memory=world.device.type == "cuda",
        worker_init_fn=_outlive_sigterm,
    )
    mean, std = pixel_scale(normalisation, world.device)
    return (_normalised(packed.to(world.device).unpack(), mean, std) for packed in _batches(loader))


def _normalised(batch: Batch, mean: Tensor, std: Tensor) -> Batch:
    """Return a batch of bytes with its images normalised, and 0 where they are padded."""
    if len(batch) == 0:
        return batch
    images = normalised_by(batch.images, mean, std)
    for image, size in zip(images, batch.sizes, strict=True):
        if size != images.shape[-2:]:
            image[:, size[0] :] = 0
            image[:, :, size[1] :] = 0
    return replace(batch, images=images)


def _packed(
    items: Iterable[Item | LeftOut | LoadFailure], *, multiple: int, targets: Sequence[Target] = ()
) -> PackedBatch:
    return pack(collate(items, multiple=multiple, targets=targets))


def _batches(loader: DataLoader[Any]) -> Iterator[PackedBatch]:
    """Yield the batches of a loader. Raises InputError for one that could not be loaded, or where a worker has died."""
    batches = iter(loader)
    while True:
        with dead_workers_in_one_line():
            try:
                batch = next(batches, None)
            except (EOFError, ConnectionError) as error:
                raise RuntimeError("a DataLoader worker ended while it handed over a batch") from error
        if batch is None:
            return
        checked(batch.batch)
        yield batch


@contextlib.contextmanager
def dead_workers_in_one_line() -> Iterator[None]:
    """Turn torch's error that a process of a loader has died into one line. Its signal may come anywhere in a run.

    Raises:
        InputError: one has died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise once more, while it is told
        raise InputError(
            f"a process that loads images has died ({str(error).splitlines()[0]}): it was killed, or this machine "
            "has too little memory or shared memory; try runtime.workers=0, or fewer"
        ) from error


def _outlive_sigterm(_: int) -> None:
    """Let the process that trains end its step and its loaders, where a whole group of processes is terminated."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def labelled_part(source: Source, target: Target) -> Subset:
    """Return the images that are labelled for a target. Raises InputError where none is."""
    labelled = Subset(source, source.labelled(target.name))
    if len(labelled) == 0:
        raise InputError(f"no image of the training split is labelled with '{target.name}'; give its labels")
    return labelled


def build_train_loader(
    data: DataConfig,
    source: Source,
    target: Target,
    world: World,
    *,
    steps: range,
    batch_size: int,
    workers: int,
    seed: int,
    normalisation: Normalisation = IMAGENET,
) -> Iterator[Batch]:
    """Yield this rank's batches of a final model's training: of the images that are labelled for ``target`` alone.

    An epoch is one pass over these. Arguments are those of :func:`build_loader`.

    Raises:
        InputError: as :func:`build_loader`, or no image is labelled for ``target``.
    """
    return build_loader(
        data,
        labelled_part(source, target),
        [target],
        world,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        keep_unknown=True,
        normalisation=normalisation,
    )


def build_eval_loader(
    source: Source,
    targets: Collection[Target],
    spec: InputSpec,
    world: World,
    *,
    batch_size: int,
    workers: int,
    undecodable: str,
) -> Iterator[Batch]:
    """Yield this rank's share of a source, every ``world.size``-th image in order, as a trained model takes them.

    They lie on the CPU, where the labels are read.

    Args:
        source: of the images, each of which comes once.
        targets: what is read beside the image, in pixels of the stored image.
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
        PreparedDataset(source, targets, spec, undecodable=undecodable),  # type: ignore[arg-type]  # a config's value
        batch_size=batch_size,
        sampler=range(world.rank, len(source), world.size),
        num_workers=workers,
        collate_fn=functools.partial(_packed, multiple=spec.multiple),
        worker_init_fn=_outlive_sigterm,
        pin_memory=world.device.type == "cuda",
        generator=torch.Generator(),  # else each evaluation would draw from the global one
    )
    return (packed.unpack() for packed in _batches(loader))
