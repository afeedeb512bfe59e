"""The multitask index: a parquet file with one row an image, which says where its pixels and its labels are.

==============  ============================  ==================================================================
column          type                          holds
==============  ============================  ==================================================================
path            string                        the image, relative to the root of the data or to a folder of images
width, height   int32 or null                 its size where it is known
<scalar>        int32 or null                 class id
<boxes>         list of float[4], or null     x1 y1 x2 y2 in pixels
<boxes labels>  list of int32, or null        their class ids
<crowds>        list of float[4], or null     boxes of groups and difficult objects: not learnt from, and what is
                                              detected in them is neither right nor wrong; the column may be missing
<crowd labels>  list of int32, or null        their class ids; likewise
<mask>          string or null                the mask, relative to the root
<dense>         string or null                the map, a 16-bit PNG, relative to the root; 0 = unknown
<keypoints>     list of float[3], or null     x, y in pixels from the image's corner, and 0, 1 or 2: unlabelled, hidden,
                                              visible; a row for each of the target's classes, their names
==============  ============================  ==================================================================

Files may lie in uncompressed tar files, which stand in a path as folders do: ``train/shard-000012.tar/n01440764/1.jpg``
(``data.tars``). Null means "not labelled for this"; an empty list of boxes means "nothing there". The kinds and class
names of the targets, the scales of dense ones (pixel / scale = the value), and the version of the format, are JSON in
the schema's metadata, under ``fbnetv5``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from fbnetv5.base.documents import parse_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path, require_regular
from fbnetv5.base.types import Sample, Target, TargetKind
from fbnetv5.data import index_checks
from fbnetv5.data.images import AS_IT_STANDS, image_header, read_depth, read_mask, read_stored
from fbnetv5.data.index_checks import BORDER_TOLERANCE
from fbnetv5.data.mask_codes import MaskCode
from fbnetv5.data.orientation import Extent, Frames, told_by_size, turn_pixels
from fbnetv5.data.tars import is_folder

FORMAT_VERSION = 1
METADATA_KEY = b"fbnetv5"


@dataclass(frozen=True)
class Index:
    """Rows of images, checked.

    Attributes:
        table: the columns that the module describes, in one chunk.
        targets: those that the index has columns for.
        classes: the class names of each target, by name.
        origin: where the index comes from, for messages.
        scales: what the pixels of each dense target are divided by, by name.
    """

    table: pa.Table
    targets: tuple[Target, ...]
    classes: Mapping[str, tuple[str, ...]]
    origin: str
    scales: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any]],
        targets: Iterable[Target],
        classes: Mapping[str, Iterable[str]],
        origin: str,
        scales: Mapping[str, float] | None = None,
    ) -> Index:
        """Make an index of dictionaries that hold a value for each column (missing = null).

        Raises:
            InputError: as ``read`` does.
        """
        wanted = tuple(targets)
        try:
            table = pa.Table.from_pylist(list(rows), schema=_schema(wanted))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise InputError(f"{origin}: a value does not fit its column: {str(error).splitlines()[0]}") from error
        return cls._checked(table, wanted, classes, origin, scales or {})

    @classmethod
    def read(cls, path: str | Path, root: Path | None = None) -> Index:
        """Read an index and check every row of it; images and masks are not opened.

        Args:
            path: the file.
            root: the folder that its paths are relative to, where it is known.

        Raises:
            InputError: there is no such file, it is no index, it has no rows, an image is listed twice, a class id is
                out of range, a box is inverted, outside of its image or without a class, dense maps have no scale,
                keypoints are too few or not finite, classes share a name, or a path leaves the folder of
                the data and that of the index.
        """
        try:
            require_regular(path)
            table = pq.read_table(path)
            described = parse_json((table.schema.metadata or {})[METADATA_KEY].decode())
            targets = tuple(Target(name, TargetKind(entry["kind"])) for name, entry in described["targets"].items())
            classes = {name: class_names(entry["classes"]) for name, entry in described["targets"].items()}
            scales = {name: entry["scale"] for name, entry in described["targets"].items() if "scale" in entry}
            table = _with_crowds(table, targets).select(_schema(targets).names).cast(_schema(targets))
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else _reason(error)
            raise InputError(f"{path}: cannot read this as a multitask index: {reason}") from error
        if described.get("version") != FORMAT_VERSION:
            found = described.get("version")
            raise InputError(f"{path}: an index of format {found}; this program reads format {FORMAT_VERSION}")
        index_checks.check_places(table, targets, Path(path), root)
        return cls._checked(table, targets, classes, str(path), scales)

    @classmethod
    def _checked(
        cls,
        table: pa.Table,
        targets: tuple[Target, ...],
        classes: Mapping[str, Iterable[str]],
        origin: str,
        scales: Mapping[str, float],
    ) -> Index:
        named = {target.name: tuple(classes.get(target.name, ())) for target in targets}
        index = cls(table.combine_chunks(), targets, named, origin, dict(scales))
        index_checks.check(index.table, targets, named, origin)
        index_checks.check_scales(targets, scales, origin)
        return index

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return what is to be known of each target, as plain data: kind, class names, and the scale of dense ones."""
        entries: dict[str, dict[str, Any]] = {
            target.name: {"kind": target.kind.value, "classes": list(self.classes[target.name])}
            for target in self.targets
        }
        for name, scale in self.scales.items():
            entries[name]["scale"] = scale
        return entries

    def write(self, path: str | Path) -> None:
        """Write the index as parquet, atomically."""
        described = json.dumps({"version": FORMAT_VERSION, "targets": self.describe()})
        with atomic_path(path) as temporary:
            pq.write_table(self.table.replace_schema_metadata({METADATA_KEY: described}), temporary)

    def value(self, column: str, row: int) -> Any:
        """Return what stands in a row."""
        return self._columns[column][row].as_py()

    @functools.cached_property
    def _columns(self) -> Mapping[str, pa.Array]:
        """The columns, of one chunk each, as looking them up takes longer than reading a value."""
        return {name: self.table[name].chunk(0) for name in self.table.column_names}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_columns"}  # else all is there twice

    def labelled(self, name: str) -> Sequence[int]:
        """The positions of the images that have the target ``name``, ascending."""
        if name not in self.classes:
            return []
        return np.flatnonzero(self.table[name].is_valid().to_numpy()).tolist()

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""
        if name not in self.classes:
            return 0
        return len(self) - int(self.table[name].null_count)


class IndexSource:
    """The images and targets of an index (a ``Source``).

    Args:
        index: which images.
        root: the folder that its paths are relative to.
        images: the folder that the paths of its images are relative to, where that is another one.
        frames: which images are turned upright, as their labels are in that frame.
        code: what the pixels of masks mean.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(
        self,
        index: Index,
        root: str | Path,
        *,
        images: str | Path | None = None,
        frames: Frames | None = None,
        code: MaskCode = AS_IT_STANDS,
    ) -> None:
        self.index = index
        self.code = code
        self.frames = Frames() if frames is None else frames
        self.root = Path(root)
        self.images = self.root if images is None else Path(images)
        for folder in (self.root, self.images):
            if not is_folder(folder):
                raise InputError(f"{folder}: no such data folder")

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The class names of each target, by name."""
        return self.index.classes

    def __len__(self) -> int:
        return len(self.index)

    def labelled(self, name: str) -> Sequence[int]:
        """The positions of the images that have the target ``name``, ascending."""
        return self.index.labelled(name)

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""
        return self.index.num_labelled(name)

    def load(self, index: int, names: Collection[str] | None = None) -> Sample:
        """Read one image and its targets; boxes that reach over its border by less than half a pixel are clipped.

        Raises:
            UndecodableImageError: the image cannot be read.
            InputError: it has not the size that the index says, its mask or depth map is wrong, or a box lies outside.
        """
        path = self._value("path", index)
        image = self._read(self.images / path, index)
        width, height = image.shape[2], image.shape[1]
        target: dict[str, Any] = {}
        for item in self.index.targets:
            value = self._value(item.name, index) if names is None or item.name in names else None
            if value is not None and item.kind is TargetKind.BOXES:
                target[item.name] = self._boxes(value, (width, height), path)
                target[item.labels_key] = torch.tensor(self._value(item.labels_key, index), dtype=torch.int64)
                if names is None or item.crowds_key in names:
                    target |= self._crowds(item, index, (width, height))
            elif value is not None and item.kind is TargetKind.MASK:
                classes = len(self.classes[item.name])
                target[item.name] = read_mask(self.root / value, classes, (width, height), self.code)
            elif value is not None and item.kind is TargetKind.DENSE:
                target[item.name] = read_depth(self.root / value, self.index.scales[item.name], (width, height))
            elif value is not None and item.kind is TargetKind.KEYPOINTS:
                target[item.name] = torch.tensor(value, dtype=torch.float32)
            elif value is not None:
                target[item.name] = value
        return Sample(image, target, path)

    def _boxes(self, value: list[list[float]], size: Extent, path: str) -> Tensor:
        """Return boxes clipped at the border; an index without sizes has not told before whether they reach beyond."""
        boxes, corners = _clipped(value, size), torch.tensor(value).reshape(-1, 2, 2)
        if (corners > torch.tensor(size) + BORDER_TOLERANCE).any():
            raise InputError(
                f"{self.index.origin}: image '{path}': a box lies outside of the image of {size[0]}x{size[1]} pixels"
            )
        return boxes

    def _crowds(self, target: Target, index: int, size: Extent) -> dict[str, Tensor]:
        """Return the crowds of an image of ``size`` (width, height), clipped at its border, where it has some."""
        crowds = self._value(target.crowds_key, index)
        if not crowds:
            return {}
        labels = torch.tensor(self._value(target.crowd_labels_key, index), dtype=torch.int64)
        return {target.crowds_key: _clipped(crowds, size), target.crowd_labels_key: labels}

    def _read(self, path: Path, index: int) -> Tensor:
        """Read an image in the frame of its labels."""
        image, orientation = read_stored(path)
        stored = (image.shape[2], image.shape[1])
        labelled = None if orientation == 1 else labelled_size(self.index, index, self.root)
        is_turned = self.frames.turns(orientation, stored, labelled)
        if is_turned:
            image = turn_pixels(image, orientation)
        size = (image.shape[2], image.shape[1])
        expected = (self._value("width", index) or size[0], self._value("height", index) or size[1])
        told = told_by_size(orientation, stored, labelled)
        if told is not None and told != is_turned:
            assert labelled is not None
            raise InputError(
                f"{path}: {labelled[0]}x{labelled[1]} pixels according to its labels, {size[0]}x{size[1]} in the file "
                f"with its EXIF orientation ({orientation}) {'applied' if is_turned else 'ignored'}: set data.exif=auto"
            )
        if size != expected:
            raise InputError(
                f"{path}: {expected[0]}x{expected[1]} pixels according to {self.index.origin}, {size[0]}x{size[1]} in "
                "the file"
            )
        return image

    def _value(self, column: str, index: int) -> Any:
        return self.index.value(column, index)


def class_names(value: object) -> tuple[str, ...]:
    """Return a document's list of names. Raises TypeError where it is none."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("'classes' should be a list of names")
    return tuple(value)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        key = error.args[0]
        return f"its metadata lack '{key.decode() if isinstance(key, bytes) else key}'"
    return (str(error).splitlines() or [type(error).__name__])[0]


def labelled_size(index: Index, row: int, root: Path) -> Extent | None:
    """Return the (width, height) that an image has for its labels: in the index, else of its mask or map; or None."""
    size = index.value("width", row), index.value("height", row)
    if None not in size:
        return size
    for target in index.targets:
        file = index.value(target.name, row) if target.kind in (TargetKind.MASK, TargetKind.DENSE) else None
        if file is not None and (header := image_header(root / file)) is not None:
            return header[0]
    return None


def _clipped(value: list[list[float]], size: Extent) -> Tensor:
    boxes = torch.tensor(value, dtype=torch.float32).reshape(-1, 4)
    return torch.minimum(boxes.clamp(min=0), torch.tensor([*size, *size]))


def _with_crowds(table: pa.Table, targets: tuple[Target, ...]) -> pa.Table:
    """Return a table with the columns of crowds, empty where an older file has none."""
    schema = _schema(targets)
    for target in targets:
        for key in target.judged_keys[len(target.keys) :]:
            if key not in table.column_names:
                table = table.append_column(schema.field(key), pa.nulls(table.num_rows, schema.field(key).type))
    return table


def _schema(targets: tuple[Target, ...]) -> pa.Schema:
    fields = [("path", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    for target in targets:
        if target.kind is TargetKind.BOXES:
            for boxes, labels in ((target.name, target.labels_key), (target.crowds_key, target.crowd_labels_key)):
                fields += [(boxes, pa.list_(pa.list_(pa.float32(), 4))), (labels, pa.list_(pa.int32()))]
        elif target.kind is TargetKind.KEYPOINTS:
            fields.append((target.name, pa.list_(pa.list_(pa.float32(), 3))))
        else:
            fields.append((target.name, pa.int32() if target.kind is TargetKind.SCALAR else pa.string()))
    return pa.schema(fields)
