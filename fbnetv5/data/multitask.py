"""Images with targets for several tasks, any of which may be missing: source, data set and batch.

The target of an image is a dictionary. What it holds depends on the *kind* of a target, never on the task that uses it:

=======  ==========================================================  ===========================
kind     value under the target's name                               example
=======  ==========================================================  ===========================
SCALAR   int, a class id                                             ``label``
BOXES    float32 [n, 4], x1 y1 x2 y2 in pixels; under                ``boxes``, ``box_labels``
         ``Target.labels_key`` int64 [n], their class ids
MASK     uint8 [H, W], class ids, 255 = ignore                       ``segmentation``
DENSE    float32 [H, W], NaN = unknown                               ``depth``
=======  ==========================================================  ===========================

A missing key means "not labelled for this". Empty ``boxes`` mean "labelled, and nothing is there".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fbnetv5.errors import InputError
from fbnetv5.seeding import Purpose, forked

IGNORE = 255  # the value of a mask's pixels that belong to no class


class TargetKind(str, Enum):
    """The form of a target's values; the table of the module says which."""

    SCALAR = "scalar"
    BOXES = "boxes"
    MASK = "mask"
    DENSE = "dense"


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
    def keys(self) -> tuple[str, ...]:
        """All keys of the target dictionary that belong to it."""
        return (self.name, self.labels_key) if self.kind is TargetKind.BOXES else (self.name,)


LABEL = Target("label", TargetKind.SCALAR)
BOXES = Target("boxes", TargetKind.BOXES)
SEGMENTATION = Target("segmentation", TargetKind.MASK)


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

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""


class UndecodableImageError(InputError):
    """An image file is missing, damaged or no image; the one fault that a data set may be told to skip."""


@dataclass(frozen=True)
class Draw:
    """Which image to take, and the key of its random augmentation."""

    index: int
    key: tuple[int, ...]


@dataclass(frozen=True)
class Item:
    """One augmented image: float32 [3, h, w], its target, its name, and the images skipped before one could be read."""

    image: Tensor
    target: dict[str, Any]
    name: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadFailure:
    """Why an item could not be loaded; a value, because an exception leaving a worker loses its one-line message."""

    message: str


Transform = Callable[[Tensor, dict[str, Any], Sequence[Target]], tuple[Tensor, dict[str, Any]]]


class MultitaskDataset(Dataset):
    """The images of a source, augmented, with the targets that the tasks ask for.

    The augmentation of an item depends on ``seed`` and the key of its draw alone: not on the worker that makes it, nor
    on what was made before.

    Args:
        source: where images and targets come from.
        targets: what the tasks need; nothing else is read or returned.
        transform: from an image uint8 [3, H, W] and its target to an image float32 [3, h, w] and its target; may draw
            from torch's global CPU generator.
        seed: of the run.
        undecodable: what to do with an image that cannot be read: report it ("error") or take the next one instead and
            record its name ("skip").
    """

    def __init__(
        self,
        source: Source,
        targets: Sequence[Target],
        transform: Transform,
        *,
        seed: int,
        undecodable: Literal["error", "skip"] = "error",
    ) -> None:
        self.source = source
        self.targets = tuple(targets)
        self.transform = transform
        self.seed = seed
        self.undecodable = undecodable
        self._keys = {key for target in targets for key in target.keys}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw | int) -> Item | LoadFailure:
        """Load one item; a plain index is augmented with the index as its key."""
        if isinstance(draw, int):
            draw = Draw(draw, (draw,))
        try:
            sample, skipped = self._load(draw.index)
        except InputError as error:
            return LoadFailure(str(error))
        with forked(self.seed, Purpose.AUGMENTATION, *draw.key):
            image, target = self.transform(sample.image, sample.target, self.targets)
        return Item(image, target, sample.name, skipped)

    def _load(self, index: int) -> tuple[Sample, tuple[str, ...]]:
        skipped: list[str] = []
        for offset in range(len(self)):
            try:
                return self.source.load((index + offset) % len(self), self._keys), tuple(skipped)
            except UndecodableImageError as error:
                if self.undecodable == "error":
                    raise
                skipped.append(str(error))
        raise InputError(f"none of the {len(self)} images can be read; the first: {skipped[0]}")


@dataclass
class Batch:
    """What a data loader hands over.

    Attributes:
        images: float32 [N, 3, h, w], normalised.
        targets: one dictionary an image; see the module.
        names: of the images.
        skipped: one message for each image that could not be read and was replaced.
        failure: why there is no batch; look at it through ``checked``.
    """

    images: Tensor
    targets: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failure: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def pin_memory(self) -> Batch:
        """Move every tensor to page-locked memory; the data loader calls this when it is told to pin."""
        return self._map(Tensor.pin_memory)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Move every tensor to ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        def convert(value: Any) -> Any:
            return function(value) if isinstance(value, Tensor) else value

        targets = [{name: convert(value) for name, value in target.items()} for target in self.targets]
        return Batch(convert(self.images), targets, self.names, self.skipped, self.failure)


def collate(items: Iterable[Item | LoadFailure]) -> Batch:
    """Stack items into a batch; with a failure among them, the batch says why and holds nothing else."""
    loaded: list[Item] = []
    for item in items:
        if isinstance(item, LoadFailure):
            return Batch(torch.empty(0), failure=item.message)
        loaded.append(item)
    return Batch(
        images=torch.stack([item.image for item in loaded]),
        targets=[item.target for item in loaded],
        names=[item.name for item in loaded],
        skipped=[message for item in loaded for message in item.skipped],
    )


def checked(batch: Batch) -> Batch:
    """Return a batch as it is.

    Raises:
        InputError: it could not be loaded.
    """
    if batch.failure is not None:
        raise InputError(batch.failure)
    return batch
