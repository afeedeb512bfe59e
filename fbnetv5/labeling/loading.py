"""Images for the teachers, read by worker processes, in batches that never cross the border of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fbnetv5.data.images import read_image
from fbnetv5.data.multitask import UndecodableImageError
from fbnetv5.labeling.plan import Entry, Plan


@dataclass(frozen=True)
class Loaded:
    """An image of a shard: RGB, uint8 [3, H, W], or None and the reason why it cannot be read."""

    shard: int
    entry: Entry
    image: Tensor | None
    reason: str = ""


class ImageFiles(Dataset):
    """Images by shard and entry, from the folder that their names are relative to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: tuple[int, Entry]) -> Loaded:
        shard, entry = key
        path = self.folder / entry.name
        try:
            return Loaded(shard, entry, read_image(path))
        except UndecodableImageError as error:
            return Loaded(shard, entry, None, str(error).removeprefix(f"{path}: cannot read this image: "))


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
    """
    batches = ShardBatches(plan, shards, batch_size)
    return iter(DataLoader(ImageFiles(images), batch_sampler=batches, num_workers=workers, collate_fn=list))
