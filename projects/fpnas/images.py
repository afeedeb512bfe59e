"""A small data set as two tensors in memory: split, shuffled and augmented without a data loader.

Shapes: n images, S = side that images are resized to, c = side of the crop that a network sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.base.types import LABEL, Source
from fbnetv5.base.weights import read_weights, save_weights
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.geometry import Resize, normalised
from fbnetv5.data.sources import build_source, build_val_source


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, decoded.

    Attributes:
        pixels: uint8 [n, 3, S, S].
        labels: int64 [n].
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> ImageSet:
        """Return the images at the positions ``rows``, int64 [m], in that order."""
        return ImageSet(self.pixels[rows], self.labels[rows])


def decode(source: Source, side: int) -> ImageSet:
    """Read all labelled images of a source; the short side is resized to ``side`` and a central square is kept.

    Raises:
        InputError: no image is labelled, or one cannot be read.
    """
    rows = source.labelled(LABEL.name)
    if len(rows) == 0:
        raise InputError("no image of the training split is labelled with 'label'; give data.train.labels")
    resize = Resize(side)
    pixels, labels = torch.empty(len(rows), 3, side, side, dtype=torch.uint8), torch.empty(len(rows), dtype=torch.int64)
    for position, row in enumerate(rows):
        sample = source.load(row, {LABEL.name})
        image = resize(tv_tensors.Image(sample.image)).as_subclass(Tensor)
        pixels[position] = functional.center_crop(image, [side, side])
        labels[position] = int(sample.target[LABEL.name])
    return ImageSet(pixels, labels)


def class_names(source: Source) -> tuple[str, ...]:
    """Return the names of the classes. Raises InputError if there are fewer than two, which need no classifier."""
    classes = tuple(source.classes.get(LABEL.name, ()))
    if len(classes) < 2:
        raise InputError(
            f"the images of data.train have {len(classes)} class(es), and a classifier tells at least 2 apart; give "
            "data.train.labels: a csv file, or the folder of the images again if each class has a folder in it"
        )
    return classes


def read_images(data: DataConfig) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Return the training images, the test images (``data.val``) and the names of the classes.

    Raises:
        InputError: the data is at fault, or there is no ``data.val``.
    """
    check_data(data)
    source = build_source(data)
    classes = class_names(source)
    val_source = build_val_source(data, {LABEL.name: classes})
    if val_source is None:
        raise InputError("data.val is missing: the images that the networks are compared on")
    return decode(source, data.short_side), decode(val_source, data.short_side), classes


def split(images: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Set a share of the images aside, drawn by ``seed`` (45,000 and 5,000 of CIFAR-10's 50,000: Section 4.1).

    Args:
        images: n of them.
        share: in (0, 1); ``round(share * n)`` images are set aside, in random order.
        seed: of the run.

    Returns:
        those to train on, those to validate on.

    Raises:
        InputError: one of the two would be empty.
    """
    num_val = round(share * len(images))
    if not 0 < num_val < len(images):
        raise InputError(
            f"project.validation_share={share} of {len(images)} images leaves {len(images) - num_val} to train on and "
            f"{num_val} to validate on; both need some"
        )
    order = torch.randperm(len(images), generator=generator(seed, Purpose.SPLIT))
    return images.subset(order[num_val:]), images.subset(order[:num_val])


def epoch_batches(
    images: ImageSet, batch_size: int, *, crop: int, flip: bool, shuffle: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, augmented, in random order.

    The batches are of equal size but for one image: there is no small last one, and none is dropped.

    Args:
        images: to pass over.
        batch_size: the most images of a batch.
        crop: c, side of the random square.
        flip: mirror half of the images.
        shuffle: what order and augmentation are drawn from.

    Yields:
        images float32 [b, 3, c, c] and labels int64 [b].
    """
    order = torch.randperm(len(images), generator=shuffle)
    for rows in order.tensor_split(num_batches(len(images), batch_size)):
        yield normalised(augment(images.pixels[rows], crop, flip=flip, draws=shuffle)), images.labels[rows]


def num_batches(num_images: int, batch_size: int) -> int:
    """Return the batches of an epoch."""
    return math.ceil(num_images / batch_size)


def check_batches(num_images: int, batch_size: int) -> None:
    """Raise InputError if a batch would have a single image, of which BN has no statistics."""
    if num_images // num_batches(num_images, batch_size) < 2:
        raise InputError(
            f"{num_images} images in batches of search.batch_size={batch_size} leave a batch of a single one, and "
            "batch normalisation needs at least 2; use more images or larger batches"
        )


def val_batches(images: ImageSet, batch_size: int, *, crop: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, cut in the middle: float32 [b, 3, c, c], with labels int64 [b]."""
    for rows in torch.arange(len(images)).tensor_split(num_batches(len(images), batch_size)):
        yield normalised(functional.center_crop(images.pixels[rows], [crop, crop])), images.labels[rows]


def augment(pixels: Tensor, crop: int, *, flip: bool, draws: torch.Generator) -> Tensor:
    """Cut a random square of each image and mirror half of them (Section 4.1).

    Args:
        pixels: [b, 3, S, S].
        crop: c, at most S.
        flip: whether to mirror.
        draws: what places and mirroring are drawn from.

    Returns:
        [b, 3, c, c].
    """
    count, channels, side, _ = pixels.shape
    offsets = torch.randint(side - crop + 1, (2, count, 1), generator=draws)
    rows, columns = offsets + torch.arange(crop)  # each [b, c]
    if flip:
        mirrored = torch.rand(count, generator=draws) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[None, :, None, None]
    return pixels[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def check_data(data: DataConfig) -> int:
    """Return the side of the crop.

    Raises:
        InputError: a key asks for what the images in memory do not have, or the crop is missing or too large.
    """
    for key in ("area", "scale", "long_side", "crop_width", "rotation"):
        if getattr(data, key) is not None:
            raise InputError(f"data.{key} has no effect on images in memory, which are cut from data.short_side alone")
    if data.crop_place != "random":
        raise InputError(
            f"data.crop_place={data.crop_place} has no effect on images in memory, which are cut at random"
        )
    if data.undecodable != "error":
        raise InputError(
            f"data.undecodable={data.undecodable} has no effect here: an image that is damaged ends the run"
        )
    if data.color != "none":
        raise InputError(f"data.color={data.color} has no effect on images in memory; set data.color=none")
    if data.crop is None or data.crop > data.short_side:
        raise InputError(f"data.crop={data.crop} should be a side of at most data.short_side={data.short_side} pixels")
    return data.crop


def save_split(path: Path, train: ImageSet, val: ImageSet) -> None:
    """Write both parts to a file that every worker maps into its memory."""
    parts = {"train": train, "val": val}
    save_weights(path, {f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in vars(part).items()})


def load_split(path: Path) -> tuple[ImageSet, ImageSet]:
    """Read what :func:`save_split` wrote."""
    tensors = read_weights(path)
    train, val = (ImageSet(tensors[f"{name}.pixels"], tensors[f"{name}.labels"]) for name in ("train", "val"))
    return train, val
