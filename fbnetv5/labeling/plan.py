"""Plan of a labelling run: its images, their order and their shards, settled once, so that a resumed run agrees.

A folder with two files: ``images.parquet`` holds name and class name of each image, a row group a shard, and
``plan.json`` what is to be known of all of them. Neither writing nor reading it holds all names in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fbnetv5.base.documents import parse_json, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_folder
from fbnetv5.config.identity import check_identity
from fbnetv5.data.folders import class_folders, class_order, read_labels, walk_images
from fbnetv5.data.images import IMAGE_SUFFIXES
from fbnetv5.data.index import class_names

IMAGES, PLAN = "images.parquet", "plan.json"
NUM_SHOWN = 5  # names of classes in a message
SCHEMA = pa.schema([("name", pa.string()), ("label", pa.string())])


class Entry(NamedTuple):
    """An image: its name, relative to the folder of images, and the name of its class if it is known."""

    name: str
    label: str | None


@dataclass(frozen=True)
class Plan:
    """The images of a run.

    Attributes:
        folder: of the plan.
        num_images: of all shards.
        shard_size: images a shard; the last one may have fewer.
        label_classes: the names of the classes that images are labelled with; empty where there are no labels.
    """

    folder: Path
    num_images: int
    shard_size: int
    label_classes: tuple[str, ...]

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return -(-self.num_images // self.shard_size)

    def num_images_of(self, shards: Iterable[int]) -> int:
        """Return the number of images of some shards."""
        return sum(min(self.shard_size, self.num_images - number * self.shard_size) for number in shards)

    def shard(self, number: int) -> list[Entry]:
        """Return the images of a shard."""
        with pq.ParquetFile(self.folder / IMAGES) as file:
            rows = file.read_row_group(number)
        return [Entry(*row) for row in zip(*(column.to_pylist() for column in rows.columns), strict=True)]


def write_plan(
    folder: Path,
    images: Path,
    labels: Path | None,
    *,
    shard_size: int,
    identity: Mapping[str, Any],
    classes: Mapping[str, Sequence[str]],
) -> None:
    """List the images of a run.

    Args:
        folder: of the plan; it appears when it is whole.
        images: folder of images, searched with its subfolders.
        labels: csv with the columns ``file_name`` and ``label``; or ``images`` again where each class has a folder.
        shard_size: images a shard.
        identity: the part of the configuration that a resumed run must share.
        classes: the names of the teachers' classes, by target; a resumed run must share them too.

    Raises:
        InputError: there are no images, an image lies in no class folder, the csv is wrong or names an image that does
            not exist, or the plan cannot be written.
    """
    from_folders = labels is not None and labels.resolve() == images.resolve()
    listed = {} if labels is None or from_folders else read_labels(labels)
    label_classes = set(listed.values())

    def label_of(name: str) -> str | None:
        label = class_folders((name,))[name] if from_folders else listed.pop(name, None)
        if label is not None:
            label_classes.add(label)
        return label

    with atomic_folder(folder) as temporary:
        num_images = _write_images(temporary / IMAGES, walk_images(images), label_of, shard_size)
        if num_images == 0:
            raise InputError(f"{images}: no images here ({', '.join(IMAGE_SUFFIXES)})")
        for name in listed:
            raise InputError(f"{labels}: image '{name}' does not exist in {images}")
        content = {
            "num_images": num_images,
            "shard_size": shard_size,
            "label_classes": class_order(label_classes),
            "classes": {name: list(names) for name, names in classes.items()},
            "identity": dict(identity),
        }
        (temporary / PLAN).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_plan(folder: Path, identity: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> Plan:
    """Open the plan that an earlier start of the run has written.

    Raises:
        InputError: it was written under another configuration or for teachers of other classes, or cannot be read.
    """
    try:
        content = parse_json(read_text(folder / PLAN))
        plan = Plan(folder, content["num_images"], content["shard_size"], class_names(content["label_classes"]))
        identity_then, classes_then = dict(content["identity"]), dict(content["classes"])
        _check_images(plan)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"cannot read {folder / PLAN}: {error}; delete {folder.parent} to start anew") from error
    check_identity(identity, identity_then, folder.parent)
    _check_classes(classes, classes_then)
    return plan


def _check_images(plan: Plan) -> None:
    """Raise ValueError unless the images are as many, in as many shards, as the plan says."""
    if not all(type(number) is int and number > 0 for number in (plan.num_images, plan.shard_size)):
        raise ValueError("its numbers of images are no positive whole numbers")
    found = pq.read_metadata(plan.folder / IMAGES)
    if (found.num_rows, found.num_row_groups) != (plan.num_images, plan.num_shards):
        raise ValueError(f"{IMAGES} holds {found.num_rows:,} images in {found.num_row_groups:,} shards")
    if found.schema.to_arrow_schema().names != SCHEMA.names:
        raise ValueError(f"{IMAGES} has other columns than {', '.join(SCHEMA.names)}")


def _check_classes(now: Mapping[str, Sequence[str]], then: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError unless the teachers have the classes of the earlier start; ids would mean something else."""
    for name in sorted(now.keys() | then.keys()):
        new, old = list(now.get(name, ())), list(then.get(name, ()))
        if new != old:
            pairs = enumerate(zip(old, new, strict=False))
            first = next((k for k, (was, is_now) in pairs if was != is_now), min(len(old), len(new)))
            raise InputError(
                f"the classes of the teacher of {name} were {_shown(old, first)}; now they are {_shown(new, first)}. "
                "Restore the teacher, or label anew with output=FOLDER"
            )


def _shown(names: Sequence[str], first: int) -> str:
    """Some names from the first one that differs on, and how many there are."""
    start = max(0, min(first, len(names) - NUM_SHOWN))
    listed = ", ".join(names[start : start + NUM_SHOWN])
    return f"{'... ' if start else ''}{listed}{' ...' if start + NUM_SHOWN < len(names) else ''} ({len(names)})"


def _write_images(path: Path, names: Iterator[str], label_of: Callable[[str], str | None], shard_size: int) -> int:
    """Write a row group a shard, and return the number of images."""
    num_images = 0
    with pq.ParquetWriter(path, SCHEMA) as writer:
        while shard := list(islice(names, shard_size)):
            rows = pa.table([pa.array(shard), pa.array(map(label_of, shard), pa.string())], SCHEMA)
            writer.write_table(rows, row_group_size=shard_size)
            num_images += len(shard)
    return num_images
