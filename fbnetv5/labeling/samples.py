"""A picture of some labelled images, to see at a glance what the teachers are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path
from fbnetv5.base.types import Sample
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.orientation import Frames
from fbnetv5.labeling.shards import INDEX, shard_folder
from fbnetv5.report.pictures import contact_sheet, draw_labels


def draw_samples(path: Path, folder: Path, images: Path, num_shards: int, count: int, frames: Frames) -> None:
    """Draw ``count`` images of a labelling run with their labels, evenly spaced over its shards and within them.

    Args:
        path: of the picture.
        folder: of the run.
        images: the folder that the names of images are relative to.
        num_shards: of the run.
        count: how many; fewer where there are not as many.
        frames: the frame that the labels are in.

    Raises:
        InputError: the picture cannot be written.
    """
    panels: list[Image.Image] = []
    for source, row in _chosen(folder, images, num_shards, count, frames):
        try:
            sample: Sample = source.load(row)
        except InputError:  # it has changed since; training on it will say so
            continue
        panels.append(draw_labels(sample.image, sample.target, source.classes, sample.name))
    if panels:
        with atomic_path(path) as temporary:
            contact_sheet(panels, 2).save(temporary)


def _chosen(
    folder: Path, images: Path, num_shards: int, count: int, frames: Frames
) -> Iterator[tuple[IndexSource, int]]:
    """Yield (source, row) of the samples; one shard's index is in memory at a time."""
    for number, share in _shares(num_shards, count):
        index_file = shard_folder(folder, number) / INDEX
        if not index_file.exists():  # none of its images could be read
            continue
        source = IndexSource(Index.read(index_file), folder, images=images, frames=frames)
        share = min(share, len(source))
        for place in range(share):
            yield source, len(source) * place // share


def _shares(num_shards: int, count: int) -> Sequence[tuple[int, int]]:
    """Return (shard, samples) for shards that are evenly spaced, so that the samples sum to ``count``."""
    used = min(num_shards, count)
    return [(num_shards * k // used, count * (k + 1) // used - count * k // used) for k in range(used)]
