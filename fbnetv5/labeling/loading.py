"""Images for the teachers, read by worker processes, in batches that never cross the border of a shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import UndecodableImageError
from fbnetv5.data.images import read_stored
from fbnetv5.data.orientation import turn_pixels
from fbnetv5.data.packing import Column, pack_column
from fbnetv5.data.tars import is_tar
from fbnetv5.labeling.plan import Entry, Plan

MAX_ASPECT = 50  # long side / short side; of what is beyond that, teachers make images without a pixel, or gigabytes


@dataclass(frozen=True)
class Loaded:
    """An image of a shard: RGB, uint8 [3, H, W], upright, or None and the reason why it cannot be labelled.

    ``orientation`` is the EXIF orientation that it is stored in. ``failure`` is what stops the run; a value, because an
    exception leaving a worker loses its one-line message.
    """

    shard: int
    entry: Entry
    image: Tensor | None
    reason: str = ""
    failure: str = ""
    orientation: int = 1


class ImageFiles(Dataset):
    """Images by shard and entry, from the folder that their names are relative to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: tuple[int, Entry]) -> Loaded:
        shard, entry = key
        path = self.folder / entry.name
        try:
            stored, orientation = read_stored(path)
        except UndecodableImageError as error:
            reason = str(error).removeprefix(f"{path}: cannot read this image: ")
            return Loaded(shard, entry, None, reason, failure=self._failure())
        except InputError as error:
            return Loaded(shard, entry, None, failure=f"{error}. No labels are lost: mend it, then resume=true")
        image = turn_pixels(stored, orientation)
        height, width = image.shape[1:]
        if max(height, width) > MAX_ASPECT * min(height, width):
            return Loaded(shard, entry, None, f"{width}x{height} pixels: too long and thin for a teacher")
        return Loaded(shard, entry, image, orientation=orientation)

    def _failure(self) -> str:
        """Return why the folder, not the image, may be at fault; the mount point of a lost disk is an empty folder."""
        try:
            if is_tar(self.folder) or any(self.folder.iterdir()):
                return ""
            reason = "it is empty"
        except OSError as error:
            reason = error.strerror or str(error)
        return f"{self.folder}: the images are gone: {reason}. No labels are lost: restore them, then resume=true"


@dataclass(frozen=True)
class ShardBatches:
    """The batches of some shards, as keys of :class:`ImageFiles`; a shard is listed when its turn comes."""

    plan: Plan
    shards: Sequence[int]
    batch_size: int

    def __iter__(self) -> Iterator[list[tuple[int, Entry]]]:
        for shard in self.shards:
            entries = self.plan.shard(shard)
            for start in range(0, len(entries), self.batch_size):
                yield [(shard, entry) for entry in entries[start : start + self.batch_size]]


def load_batches(
    plan: Plan, shards: Sequence[int], images: Path, *, batch_size: int, workers: int
) -> Iterator[list[Loaded]]:
    """Yield the images of shards in batches.

    Args:
        plan: the images of all shards.
        shards: numbers of those wanted.
        images: the folder that names are relative to.
        batch_size: images at a time; the last batch of a shard may be smaller.
        workers: processes that read images; 0 reads in this one.

    Raises:
        InputError: the folder is gone, or the machine cannot read.
    """
    batches = ShardBatches(plan, shards, batch_size)
    return _checked(DataLoader(ImageFiles(images), batch_sampler=batches, num_workers=workers, collate_fn=_packed))


def _packed(batch: list[Loaded]) -> tuple[list[Loaded], list[Column]]:
    """Return a batch without its images, and these as one tensor: each that travels is an open file."""
    images = {row: loaded.image for row, loaded in enumerate(batch) if loaded.image is not None}
    return [replace(loaded, image=None) for loaded in batch], [pack_column("image", images)] if images else []


def _checked(batches: Iterable[tuple[list[Loaded], list[Column]]]) -> Iterator[list[Loaded]]:
    for batch, columns in batches:
        for loaded in batch:
            if loaded.failure:
                raise InputError(loaded.failure)
        images = {row: image for column in columns for row, image in column.unpack().items()}
        yield [replace(loaded, image=images.get(row)) for row, loaded in enumerate(batch)]
