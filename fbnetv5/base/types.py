"""Images with targets for several tasks, any of which may be missing: source, item and batch.

The target of an image is a dictionary. What it holds depends on the *kind* of a target, never on the task that uses it:

=========  ==========================================================  ===========================
kind       value under the target's name                               example
=========  ==========================================================  ===========================
SCALAR     int, a class id                                             ``label``
BOXES      float32 [n, 4], x1 y1 x2 y2 in pixels; under                ``boxes``, ``box_labels``
           ``Target.labels_key`` int64 [n], their class ids
MASK       uint8 [H, W], class ids, 255 = ignore                       ``segmentation``
DENSE      float32 [H, W], NaN = unknown                               ``depth``
KEYPOINTS  float32 [K, 3] of one person (or thing): x, y in pixels,    ``keypoints``
           and 0 = unlabelled, 1 = labelled but hidden, 2 = visible;
           the target's classes are the names of the K points
=========  ==========================================================  ===========================

An image that is judged may also have crowds of BOXES: regions in which detections are neither right nor wrong, by
COCO's protocol. They stand as boxes do, under ``Target.crowds_key`` and ``Target.crowd_labels_key``, and are not
learnt from.

A missing key means "not labelled for this". Empty ``boxes`` mean "labelled, and nothing is there". Coordinates are
distances from the image's left and upper border: the centre of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.errors import InputError

Size = tuple[int, int]  # (height, width) in pixels
TargetDict = dict[str, Any]  # see the module
Features = Mapping[int, Tensor]  # path (0..3) to its feature, [N, C, h, w]

IGNORE = 255  # the value of a mask's pixels that belong to no class


class TargetKind(str, Enum):
    """The form of a target's values; the table of the module says which."""

    SCALAR = "scalar"
    BOXES = "boxes"
    MASK = "mask"
    DENSE = "dense"
    KEYPOINTS = "keypoints"


@dataclass(frozen=True)
class Target:
    """A name in the target dictionary and the form of what stands under it."""

    name: str
    kind: TargetKind

    @property
    def labels_key(self) -> str:
        """Where the class ids of BOXES stand: ``box_labels`` for ``boxes``, ``<name>_labels`` for others."""
        return "box_labels" if self.name == "boxes" else f"{self.name}_labels"

    @property
    def crowds_key(self) -> str:
        """Where the crowds of BOXES stand: ``box_crowds`` for ``boxes``, ``<name>_crowds`` for others."""
        return "box_crowds" if self.name == "boxes" else f"{self.name}_crowds"

    @property
    def crowd_labels_key(self) -> str:
        """Where the class ids of crowds stand: ``box_crowd_labels``, or ``<name>_crowd_labels``."""
        return "box_crowd_labels" if self.name == "boxes" else f"{self.name}_crowd_labels"

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys of the target dictionary that are learnt from."""
        return (self.name, self.labels_key) if self.kind is TargetKind.BOXES else (self.name,)

    @property
    def judged_keys(self) -> tuple[str, ...]:
        """All keys of the target dictionary that predictions are judged by."""
        crowds = (self.crowds_key, self.crowd_labels_key) if self.kind is TargetKind.BOXES else ()
        return (*self.keys, *crowds)


LABEL = Target("label", TargetKind.SCALAR)
BOXES = Target("boxes", TargetKind.BOXES)
SEGMENTATION = Target("segmentation", TargetKind.MASK)
DEPTH = Target("depth", TargetKind.DENSE)
KEYPOINTS = Target("keypoints", TargetKind.KEYPOINTS)


class Sample(NamedTuple):
    """One image as its source holds it: uint8 [3, H, W], its target dictionary, and a name for messages."""

    image: Tensor
    target: dict[str, Any]
    name: str


class Source(Protocol):
    """Where images and targets come from."""

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The class names of each target that has classes; a class id is a position in them."""

    def __len__(self) -> int:
        """The number of images."""

    def load(self, index: int, names: Collection[str] | None = None) -> Sample:
        """Read image ``index`` and those of its targets that ``names`` holds (all by default).

        Raises:
            UndecodableImageError: the image cannot be read.
            InputError: something else about it is wrong.
        """

    def labelled(self, name: str) -> Sequence[int]:
        """The positions of the images that have the target ``name``, ascending."""

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""


class UndecodableImageError(InputError):
    """An image file is missing, damaged or no image; the one fault that a data set may be told to skip."""


@dataclass(frozen=True)
class KeyedIndex:
    """Which image to take, and the key of its random augmentation."""

    index: int
    key: tuple[int, ...]


@dataclass(frozen=True)
class Item:
    """One image as a model takes it.

    Attributes:
        image: [3, h, w], float32 and normalised, or uint8, which a loader normalises as a batch.
        target: see the module.
        name: of the image.
        original_size: (height, width) of the image as it is stored.
        skipped: one message for each image that could not be read and was replaced by this one.
    """

    image: Tensor
    target: dict[str, Any]
    name: str
    original_size: Size
    skipped: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """The (height, width) of ``image``."""
        return self.image.shape[-2], self.image.shape[-1]


@dataclass(frozen=True)
class LeftOut:
    """Why an image that could not be read is left out, with no other in its place."""

    message: str


@dataclass(frozen=True)
class LoadFailure:
    """Why an item could not be loaded; a value, because an exception leaving a worker loses its one-line message."""

    message: str


@dataclass
class Batch:
    """Images with targets, as a data loader hands them over; empty, where no image of a batch could be read.

    Attributes:
        images: float32 [N, 3, h, w], normalised; padded at the right and at the bottom with 0, the mean colour.
        targets: one dictionary an image; see the module.
        names: of the images.
        sizes: (height, width) of each image in ``images``, without the padding.
        original_sizes: (height, width) of each image as it is stored.
        skipped: one message for each image that could not be read, and was replaced or left out.
        failure: why there is no batch; look at it through ``checked``.
    """

    images: Tensor
    targets: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    original_sizes: list[Size] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failure: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def split(self, count: int) -> list[Batch]:
        """Cut into ``count`` contiguous micro-batches of equal size; ``skipped`` stays with the whole.

        Raises:
            ValueError: the images cannot be shared evenly.
        """
        size, rest = divmod(len(self), count)
        if rest:
            raise ValueError(f"{len(self)} images cannot be cut into {count} equal parts")
        cuts = [slice(start, start + size) for start in range(0, size * count, size)] if size else []
        return [
            Batch(self.images[cut], self.targets[cut], self.names[cut], self.sizes[cut], self.original_sizes[cut])
            for cut in cuts
        ]

    def by_size(self, padded: Callable[[Size], Size]) -> list[Batch]:
        """Group images of the same size once padded as ``padded`` says of (height, width), with no padding beyond that.

        What a network computes of an image then depends on no other image of the batch. ``skipped`` stays with the
        whole.
        """
        groups: dict[Size, list[int]] = {}
        for row, size in enumerate(self.sizes):
            groups.setdefault(padded(size), []).append(row)
        own = self.images.shape[-2:]
        height, width = (max(sides) for sides in zip(own, *groups, strict=True))
        images = self.images if own == (height, width) else F.pad(self.images, (0, width - own[1], 0, height - own[0]))
        return [
            Batch(
                images=images[rows, :, :height, :width],
                targets=[self.targets[row] for row in rows],
                names=[self.names[row] for row in rows],
                sizes=[self.sizes[row] for row in rows],
                original_sizes=[self.original_sizes[row] for row in rows],
            )
            for (height, width), rows in groups.items()
        ]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Move every tensor to ``device``."""

        def moved(value: Any) -> Any:
            return value.to(device, non_blocking=non_blocking) if isinstance(value, Tensor) else value

        targets = [{name: moved(value) for name, value in target.items()} for target in self.targets]
        return replace(self, images=moved(self.images), targets=targets)


def checked(batch: Batch) -> Batch:
    """Return a batch as it is.

    Raises:
        InputError: it could not be loaded.
    """
    if batch.failure is not None:
        raise InputError(batch.failure)
    return batch
