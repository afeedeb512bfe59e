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

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from fbnetv5.base.documents import parse_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_folder, atomic_path, csv_lines
from fbnetv5.base.types import SEGMENTATION, Target
from fbnetv5.data.images import MACHINE_ERRORS
from fbnetv5.data.index import METADATA_KEY, Index
from fbnetv5.labeling.labeler import Labeler
from fbnetv5.labeling.loading import Loaded
from fbnetv5.labeling.tally import Tally
from fbnetv5.report.colours import class_colours, palette
from fbnetv5.report.predictions import mask_paths

SHARDS, INDEX, MASKS, UNREADABLE, TALLY = "shards", "index.parquet", "masks", "unreadable.csv", "tally.json"
HEADER = ("file_name", "reason")  # of the unreadable images
# what reading a damaged file raises
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError, csv.Error, pa.ArrowException)
NUM_WRITERS = 4  # threads that compress masks


def shard_folder(folder: Path, number: int) -> Path:
    """Return where a shard of the run in ``folder`` lies."""
    return folder / SHARDS / f"{number:05d}"


def missing_shards(folder: Path, num_shards: int) -> list[int]:
    """Return the numbers of the shards that are not there yet.

    Raises:
        InputError: the folder of the shards cannot be listed.
    """
    places = folder / SHARDS
    try:
        there = {place.name for place in places.iterdir()} if places.exists() else set()
    except OSError as error:
        raise _damaged(places, error) from error
    return [number for number in range(num_shards) if shard_folder(folder, number).name not in there]


def clean(folder: Path, names: Iterable[str]) -> None:
    """Remove what processes that were killed have left half-written of shards, and of what has these names."""
    for unfinished in (*(folder / SHARDS).glob(".*"), *(path for name in names for path in folder.glob(f".{name}.*"))):
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


def count_shards(folder: Path, numbers: Iterable[int], classes: Mapping[Target, Sequence[str]]) -> Tally:
    """Return what was found in some shards, all of which are there.

    Raises:
        InputError: a shard lacks a file, or has one that cannot be read, or labels of other classes.
    """
    tally = Tally.empty(classes)
    for place in (shard_folder(folder, number) for number in numbers):
        try:
            found = Tally.from_json((place / TALLY).read_text(encoding="utf-8"))
            there = _classes_of(place / INDEX) if found.num_images else None
            known = there is None or there == {target.name: list(names) for target, names in classes.items()}
            if known:
                tally.add(found)
            if len(list(_read_unreadable([place]))) != found.num_unreadable:
                raise ValueError("unreadable images are not those that were counted")
        except DAMAGE as error:
            raise _damaged(place, error) from error
        if not known:
            raise InputError(f"{place} holds labels of other classes than the teachers'; delete it and resume")
    return tally


def join_shards(folder: Path, num_shards: int, classes: Mapping[Target, Sequence[str]]) -> Tally:
    """Join the shards of a run to ``index.parquet`` and ``unreadable.csv`` beside them, a shard at a time.

    Returns:
        what was found in all of them.

    Raises:
        InputError: no image could be read, a shard is damaged or of other classes, or a file cannot be written.
    """
    places = [shard_folder(folder, number) for number in range(num_shards)]
    tally = count_shards(folder, range(num_shards), classes)
    _write_unreadable(folder / UNREADABLE, _read_unreadable(places))
    if tally.num_images == 0:
        raise InputError(f"none of the {tally.num_unreadable} images can be read: {folder / UNREADABLE} says why")
    indexes = [place / INDEX for place in places if (place / INDEX).exists()]
    with (
        atomic_path(folder / INDEX) as temporary,
        pq.ParquetWriter(temporary, pq.read_schema(indexes[0])) as writer,
    ):
        for path in indexes:
            writer.write_table(_read_rows(path))
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
        file.writelines(csv_lines([HEADER]))
        file.writelines(csv_lines(entries))


def _read_unreadable(places: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for place in places:
        with (place / UNREADABLE).open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if next(rows, None) != [*HEADER]:
                raise ValueError(f"{place} has no header")
            yield from ((name, reason) for name, reason in rows)


def _read_rows(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except DAMAGE as error:
        raise _damaged(path.parent, error) from error


def _classes_of(path: Path) -> dict[str, list[str]]:
    """Return the class names of each target of an index, without reading its rows."""
    described = parse_json((pq.read_schema(path).metadata or {})[METADATA_KEY].decode())
    return {name: entry["classes"] for name, entry in described["targets"].items()}


def _damaged(place: Path, error: Exception) -> InputError:
    """Return what to tell of a folder that cannot be read: to delete it, unless it is whole and out of reach."""
    if isinstance(error, OSError) and (error.errno in MACHINE_ERRORS or isinstance(error, PermissionError)):
        return InputError(f"{place} cannot be read: {error.strerror}; mend that, then resume=true")
    return InputError(f"{place} is damaged; delete it and resume")
