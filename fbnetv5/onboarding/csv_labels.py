"""Csv files with a class for each image, as this program reads them or nearly so; or with boxes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from fbnetv5.data.folders import class_order
from fbnetv5.onboarding.csv_boxes import ReadBoxes, box_columns, boxes_found, read_boxes
from fbnetv5.onboarding.found import Found, Ready
from fbnetv5.onboarding.listing import Listing, common_start, split_of

FORMAT = "csv"
IMAGE_COLUMNS = (
    "file_name",
    "filename",
    "file",
    "image",
    "image_name",
    "image_path",
    "img",
    "path",
    "id",
    "image_id",
    "imageid",
)
LABEL_COLUMNS = (
    "label",
    "class",
    "class_name",
    "category",
    "label_name",
    "target",
    "species",
    "breed",
    "tag",
    "labelname",
)
SPLIT_COLUMNS = ("split", "subset", "set", "data set")
BOX_COLUMNS = {"xmin", "x1", "bbox", "bbox_x"}  # of files of boxes that are not known
FOUND_SHARE = 0.5  # of the rows must name an image


@dataclass
class Read:
    """What the files say, by image."""

    values: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    ready: dict[str, Ready] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    boxes: ReadBoxes = field(default_factory=ReadBoxes)


def find_csv(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return the classes and the boxes that csv files say, and notes."""
    read = Read()
    for name in listing.with_suffix(".csv", ".tsv"):
        _read_file(listing, name, read)
    boxes = boxes_found(listing, read.boxes)
    if not read.values:
        return boxes, read.notes
    classes = class_order(read.values.values())
    ready = read.ready if len(read.ready) == len(read.used) else {}
    labels = Found("labels", FORMAT, tuple(read.used), read.values, classes, read.splits, ready)
    return [labels, *boxes], read.notes


def _read_file(listing: Listing, name: str, read: Read) -> None:
    try:
        text = (listing.root / name).read_bytes().decode("utf-8-sig")
        rows, delimiter = _rows(text)
    except (OSError, UnicodeDecodeError, csv.Error):
        read.notes.append(f"{name}: left out, as it is no csv file in UTF-8")
        return
    if len(rows) < 2:
        return
    header = [cell.strip().lower() for cell in rows[0]]
    boxes = box_columns(listing, name, rows, IMAGE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
    if boxes is not None:
        read_boxes(listing, name, rows, boxes, read.boxes)
        return
    if BOX_COLUMNS & set(header):
        read.notes.append(
            f"{name}: left out: boxes need columns such as image, xmin, ymin, xmax, ymax, class; it has "
            f"{', '.join(rows[0])}"
        )
        return
    columns = _columns(listing, name, rows, header)
    if columns is None:
        return
    image_column, label_column, split_column, start = columns
    width = max(image_column, label_column)
    named: dict[str, tuple[str, str, str]] = {}
    missing = 0
    for row in rows[start:]:
        if len(row) <= width or not row[label_column].strip():
            continue
        image = listing.image_of(row[image_column], name, is_stem="." not in row[image_column])
        if image is None:
            missing += 1
        elif image not in read.values:
            split = row[split_column] if split_column is not None and split_column < len(row) else ""
            named[image] = (row[image_column], row[label_column].strip(), split_of(f"{split.strip()}/x"))
    if not named or len(named) < FOUND_SHARE * (len(named) + missing):
        return
    _keep(read, name, named, plain=delimiter == "," and rows[0][:] and {"file_name", "label"} <= set(rows[0]))
    if missing:
        read.notes.append(f"{name}: {missing:,} images that it lists are not here")
        read.ready.clear()


def _keep(read: Read, name: str, named: dict[str, tuple[str, str, str]], *, plain: object) -> None:
    told = split_of(name, is_file=True)
    read.used.append(name)
    read.values |= {image: label for image, (_, label, _) in named.items()}
    splits = {image: split or told for image, (_, _, split) in named.items()}
    read.splits |= {image: split for image, split in splits.items() if split}
    folder = common_start({image: text for image, (text, _, _) in named.items()})
    if plain and folder is not None and len(set(splits.values())) == 1 and told not in read.ready:
        read.ready[told] = Ready(folder, name)


def _rows(text: str) -> tuple[list[list[str]], str]:
    """Return the rows of a file, and what separates its columns, by its first line."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    return [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)], delimiter


def _columns(
    listing: Listing, name: str, rows: Sequence[Sequence[str]], header: Sequence[str]
) -> tuple[int, int, int | None, int] | None:
    """Return the columns of images, labels and splits, and the first row; None where there are none."""
    images = [column for column in IMAGE_COLUMNS if column in header]
    labels = [column for column in LABEL_COLUMNS if column in header]
    splits = [column for column in SPLIT_COLUMNS if column in header]
    if images and labels:
        return header.index(images[0]), header.index(labels[0]), header.index(splits[0]) if splits else None, 1
    if len(header) == 2:  # without known names, or without a header
        heads = [listing.image_of(row[0], name, is_stem="." not in row[0]) is not None for row in rows[:2]]
        return (0, 1, None, 0 if heads[0] else 1) if heads[-1] else None
    return None
