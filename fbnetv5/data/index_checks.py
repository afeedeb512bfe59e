"""Checks the rows of a multitask index, a column at a time, so that a million rows take seconds."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, Target, TargetKind

BORDER_TOLERANCE = 0.5  # pixels that a box may reach over the border of its image; loading clips them

Array = np.ndarray[Any, Any]


def check(table: pa.Table, targets: Sequence[Target], classes: Mapping[str, tuple[str, ...]], origin: str) -> None:
    """Check every row of an index.

    Raises:
        InputError: naming the first image that is wrong, and how; ``data.index`` lists what can be.
    """
    if table.num_rows == 0:
        raise InputError(f"{origin}: no images, so there is nothing to train on")
    _check_paths(table, origin)
    for target in targets:
        check_names(classes[target.name], f"{origin}: the classes of '{target.name}'")
        num_classes = len(classes[target.name])
        if target.kind is TargetKind.SCALAR:
            rows = np.flatnonzero(table[target.name].is_valid().to_numpy())
            _check_ids(table, rows, table[target.name].drop_null().to_numpy(), target.name, num_classes, origin)
        elif target.kind is TargetKind.BOXES:
            _check_boxes(table, target.name, target.labels_key, num_classes, origin)
            _check_boxes(table, target.crowds_key, target.crowd_labels_key, num_classes, origin, may_leave=True)
        elif target.kind is TargetKind.KEYPOINTS:
            _check_keypoints(table, target, num_classes, origin)


def check_names(names: Sequence[str], what: str) -> None:
    """Raise InputError, which starts with ``what``, where two classes share a name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{what} name '{name}' twice; give each a name of its own")
        seen.add(name)


def require_several(target: Target, classes: Sequence[str]) -> None:
    """Raise InputError where images or pixels have a single class to tell apart, or pixels too many."""
    if target.kind is TargetKind.MASK and len(classes) > IGNORE:
        raise InputError(f"'{target.name}' has {len(classes)} classes; a mask can tell {IGNORE}")
    if target.kind in (TargetKind.SCALAR, TargetKind.MASK) and len(classes) < 2:
        named = f"one class, '{classes[0]}'," if classes else "no class"
        raise InputError(f"'{target.name}' has {named} and nothing can be learnt from it: it needs two or more")


def check_places(table: pa.Table, targets: Sequence[Target], file: Path, root: Path | None) -> None:
    """Check that what an index names lies below the folder of the data, or below its own.

    Args:
        table: of the index.
        targets: of the index.
        file: the index.
        root: the folder that its paths are relative to, where it is known.

    Raises:
        InputError: a path is absolute, or leaves the folder by ``..``; the message names the first.
    """
    own = os.path.normpath(file.absolute().parent)
    files = [target.name for target in targets if target.kind in (TargetKind.MASK, TargetKind.DENSE)]
    for column in ("path", *files):
        outside = pc.match_substring_regex(table[column].fill_null(""), r"^/|^[A-Za-z]:[/\\]|(^|[/\\])\.\.([/\\]|$)")
        for name in table[column].filter(outside).to_pylist():
            if not Path(os.path.normpath((root or Path()).absolute() / name)).is_relative_to(own):
                raise InputError(
                    f"{file}: {column} '{name}' leaves the folder of the data; name files below data.root or beside "
                    "the index, or images below data.train.images, which may be any folder"
                )


def check_scales(targets: Sequence[Target], scales: Mapping[str, float], origin: str) -> None:
    """Raise InputError unless each dense target, and no other, has a scale above 0."""
    dense = [target.name for target in targets if target.kind is TargetKind.DENSE]
    for name in (*dense, *scales):
        scale = scales.get(name)
        if name not in dense:
            raise InputError(f"{origin}: '{name}' has a scale, and is no dense target")
        if not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
            raise InputError(f"{origin}: the scale of '{name}' is {scale}; it should be a number above 0")


def _check_paths(table: pa.Table, origin: str) -> None:
    paths = table["path"]
    if paths.null_count:
        raise InputError(f"{origin}: row {pc.index(paths.is_null(), True)} has no path")
    if pc.count_distinct(paths).as_py() < len(paths):
        counts = pc.value_counts(paths)
        first = next(entry["values"] for entry in counts.to_pylist() if entry["counts"] > 1)
        raise InputError(f"{origin}: image '{first}' is listed more than once")


def _check_boxes(
    table: pa.Table, name: str, labels_key: str, num_classes: int, origin: str, *, may_leave: bool = False
) -> None:
    lengths, label_lengths = (pc.list_value_length(table[key]).fill_null(-1).to_numpy() for key in (name, labels_key))
    for row in np.flatnonzero(lengths != label_lengths)[:1]:
        raise InputError(f"{_where(table, row, origin)}: {name} and {labels_key} differ in length")
    if pc.list_flatten(table[name]).null_count:
        raise InputError(f"{origin}: a box in the column {name} is null")
    rows = pc.list_parent_indices(table[name]).to_numpy()
    ids = pc.list_flatten(table[labels_key]).fill_null(-1).to_numpy()
    _check_ids(table, rows, ids, labels_key, num_classes, origin)

    corners = pc.list_flatten(pc.list_flatten(table[name])).fill_null(float("nan"))
    boxes = corners.to_numpy().reshape(-1, 4)
    unknown = float("inf")
    sizes = np.stack([table[key].cast(pa.float64()).fill_null(unknown).to_numpy()[rows] for key in ("width", "height")])
    upright = (boxes[:, 2:] > boxes[:, :2]).all(1) & np.isfinite(boxes).all(1)
    inside = (boxes[:, :2] >= -BORDER_TOLERANCE).all(1) & (boxes[:, 2:] <= sizes.T + BORDER_TOLERANCE).all(1)
    for box in np.flatnonzero(~upright)[:1]:
        raise InputError(f"{_where(table, rows[box], origin)}: box {_text(boxes[box])} is inverted or empty")
    for box in np.flatnonzero(~inside & (not may_leave))[:1]:
        width, height = sizes[:, box]
        raise InputError(
            f"{_where(table, rows[box], origin)}: box {_text(boxes[box])} lies outside of the image of "
            f"{width:g}x{height:g} pixels"
        )


def _check_keypoints(table: pa.Table, target: Target, num_points: int, origin: str) -> None:
    lengths = pc.list_value_length(table[target.name]).fill_null(num_points).to_numpy()
    for row in np.flatnonzero(lengths != num_points)[:1]:
        raise InputError(
            f"{_where(table, row, origin)}: {lengths[row]} {target.name} instead of {num_points}, one for each name"
        )
    rows = pc.list_parent_indices(table[target.name]).to_numpy()
    values = pc.list_flatten(pc.list_flatten(table[target.name])).fill_null(float("nan")).to_numpy().reshape(-1, 3)
    if len(values) < len(rows):
        raise InputError(f"{origin}: a point in the column {target.name} is null")
    right = np.isfinite(values).all(1) & np.isin(values[:, 2], (0, 1, 2))
    for point in np.flatnonzero(~right)[:1]:
        raise InputError(
            f"{_where(table, rows[point], origin)}: point {_text(values[point])} of {target.name} should be x, y and 0 "
            "(unlabelled), 1 (hidden) or 2 (visible)"
        )


def _check_ids(table: pa.Table, rows: Array, ids: Array, name: str, num_classes: int, origin: str) -> None:
    for wrong in np.flatnonzero((ids < 0) | (ids >= num_classes))[:1]:
        raise InputError(
            f"{_where(table, rows[wrong], origin)}: {name} {ids[wrong]} is not a class id (0 to {num_classes - 1})"
        )


def _where(table: pa.Table, row: int, origin: str) -> str:
    return f"{origin}: image '{table['path'][int(row)].as_py()}'"


def _text(box: Array) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "] (x1, y1, x2, y2)"
