"""Data sets for torch's data loader: images augmented for training, and images prepared for a trained model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import (
    Item,
    KeyedIndex,
    LeftOut,
    LoadFailure,
    Sample,
    Size,
    Source,
    Target,
    UndecodableImageError,
)
from fbnetv5.data.inputs import InputSpec

Undecodable = Literal["error", "skip"]
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
        undecodable: Undecodable = "error",
    ) -> None:
        self.source = source
        self.targets = tuple(targets)
        self.transform = transform
        self.seed = seed
        self.undecodable = undecodable
        self._keys = {key for target in targets for key in target.keys}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: KeyedIndex | int) -> Item | LoadFailure:
        """Load one item; a plain index is augmented with the index as its key."""
        if isinstance(draw, int):
            draw = KeyedIndex(draw, (draw,))
        try:
            sample, skipped = self._load(draw.index)
        except InputError as error:
            return LoadFailure(str(error))
        with forked(self.seed, Purpose.AUGMENTATION, *draw.key):
            image, target = self.transform(sample.image, sample.target, self.targets)
        return Item(image, target, sample.name, _size(sample), skipped)

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


class PreparedDataset(Dataset):
    """The images of a source as a trained model takes them, with their targets as they are stored.

    Args:
        source: where images and targets come from.
        targets: what is read beside the image, in pixels of the stored image.
        spec: how an image becomes the model's input.
        undecodable: what to do with an image that cannot be read: report it ("error") or leave it out ("skip").
    """

    def __init__(
        self, source: Source, targets: Collection[Target], spec: InputSpec, *, undecodable: Undecodable = "error"
    ) -> None:
        self.source = source
        self.spec = spec
        self.undecodable = undecodable
        self._keys = {key for target in targets for key in target.judged_keys}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item | LeftOut | LoadFailure:
        try:
            sample = self.source.load(index, self._keys)
        except UndecodableImageError as error:
            return LoadFailure(str(error)) if self.undecodable == "error" else LeftOut(str(error))
        except InputError as error:
            return LoadFailure(str(error))
        return Item(self.spec.prepare(sample.image), sample.target, sample.name, _size(sample))


def _size(sample: Sample) -> Size:
    return sample.image.shape[-2], sample.image.shape[-1]
