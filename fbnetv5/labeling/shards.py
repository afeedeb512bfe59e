"""Shards: folders of labels that are there as a whole or not at all, and the index that they are joined to.

``shards/00012/`` holds ``index.parquet``, a multitask index of its images (none if no image could be read),
``masks/``, ``unreadable.csv`` and ``tally.json``.
"""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from fbnetv5.data.index import Index
from fbnetv5.data.multitask import SEGMENTATION, Target
from fbnetv5.errors import InputError
from fbnetv5.files import atomic_folder, atomic_path
from fbnetv5.labeling.labeler import Labeler
from fbnetv5.labeling.loading import Loaded
from fbnetv5.labeling.tally import Tally
from fbnetv5.report.colours import class_colours, palette
from fbnetv5.report.predictions import mask_paths

SHARDS, INDEX, MASKS, UNREADABLE, TALLY = "shards", "index.parquet", "masks", "unreadable.csv", "tally.json"
NUM_WRITERS = 4  # threads that compress masks


def shard_folder(folder: Path, number: int) -> Path:
    """Return where a shard of the run in ``folder`` lies."""
    return folder / SHARDS / f"{number:05d}"


def missing_shards(folder: Path, num_shards: int) -> list[int]:
    """Return the numbers of the shards that are not there yet."""
    places = folder / SHARDS
    there = {place.name for place in places.iterdir()} if places.exists() else set()
    return [number for number in range(num_shards) if shard_folder(folder, number).name not in there]


def clean(folder: Path) -> None:
    """Remove what processes that were killed while they wrote shards, plan or index have left behind."""
    for unfinished in (*(folder / SHARDS).glob(".*"), *folder.glob(".plan.*"), *folder.glob(f".{INDEX}.*")):
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def write_shard(target: Path, names: Sequence[str], batches: Iterable[Sequence[Loaded]], labeler: Labeler) -> None:
    """Label the images of a shard.

    Args:
        target: the shard's folder, which appears when it is whole.
        names: of all its images.
        batches: its images.
        labeler: what labels them.

    Raises:
        InputError: something could not be written, or a teacher's answer is wrong; there is no shard then.
    """
    started = time.perf_counter()
    tally = Tally.empty(labeler.classes)
    masks = {name: f"{SHARDS}/{target.name}/{MASKS}/{path}" for name, path in mask_paths(names).items()}
    rows: list[dict[str, Any]] = []
    unreadable: list[tuple[str, str]] = []
    with atomic_folder(target) as temporary, _MaskWriter(labeler.classes.get(SEGMENTATION, ())) as writer:
        top = Path(f"{SHARDS}/{target.name}")
        for batch in batches:
            writer.wait()
            unreadable += [(loaded.entry.name, loaded.reason) for loaded in batch if loaded.image is None]
            for labelled in labeler(batch):
                tally.count(labelled)
                rows.append(labelled.row)
                if labelled.mask is not None:
                    place = masks[labelled.row["path"]]
                    labelled.row[SEGMENTATION.name] = place
                    writer.write(temporary / Path(place).relative_to(top), labelled.mask)
        writer.wait()
        tally.num_unreadable, tally.seconds = len(unreadable), time.perf_counter() - started
        _write_rows(temporary / INDEX, rows, labeler.classes)
        _write_unreadable(temporary / UNREADABLE, unreadable)
        (temporary / TALLY).write_text(tally.to_json(), encoding="utf-8")


def join_shards(folder: Path, num_shards: int, classes: Mapping[Target, Sequence[str]]) -> Tally:
    """Join the shards of a run to ``index.parquet`` and ``unreadable.csv`` beside them, a shard at a time.

    Returns:
        what was found in all of them.

    Raises:
        InputError: no image could be read, or a file cannot be written.
    """
    places = [shard_folder(folder, number) for number in range(num_shards)]
    tally = Tally.empty(classes)
    for place in places:
        tally.add(Tally.from_json((place / TALLY).read_text(encoding="utf-8")))
    _write_unreadable(folder / UNREADABLE, _read_unreadable(places))
    if tally.num_images == 0:
        raise InputError(f"none of the {tally.num_unreadable} images can be read: {folder / UNREADABLE} says why")
    indexes = [place / INDEX for place in places if (place / INDEX).exists()]
    with (
        atomic_path(folder / INDEX) as temporary,
        pq.ParquetWriter(temporary, pq.read_schema(indexes[0])) as writer,
    ):
        for path in indexes:
            with pq.ParquetFile(path) as file:
                writer.write_table(file.read())
    return tally


class _MaskWriter:
    """Writes masks as palette PNGs in threads, as compressing one takes longer than to hand it over."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._palette = palette(class_colours(len(classes)))
        self._pool = ThreadPoolExecutor(NUM_WRITERS)
        self._pending: list[Future[None]] = []

    def write(self, path: Path, mask: Tensor) -> None:
        """Write a mask, uint8 [H, W], soon."""
        self._pending.append(self._pool.submit(self._save, path, mask))

    def wait(self) -> None:
        """Wait for the masks handed over so far. Raises OSError where one could not be written."""
        for future in self._pending:
            future.result()
        self._pending.clear()

    def _save(self, path: Path, mask: Tensor) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(mask.numpy())
        image.putpalette(self._palette)
        image.save(path)

    def __enter__(self) -> _MaskWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]], classes: Mapping[Target, Sequence[str]]) -> None:
    if rows:
        names = {target.name: tuple(names) for target, names in classes.items()}
        Index.from_rows(rows, classes, names, str(path)).write(path)


def _write_unreadable(path: Path, entries: Iterable[tuple[str, str]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file_name", "reason")])
        csv.writer(file, lineterminator="\n").writerows(entries)


def _read_unreadable(places: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for place in places:
        with (place / UNREADABLE).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield row["file_name"], row["reason"]
