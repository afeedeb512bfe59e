"""Csv files with a class for each image, as this program reads them or nearly so; or with boxes."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fbnetv5.data.folders import class_order
from fbnetv5.onboarding.claims import claims_of, left_out_notes, nearest, shared_out, sharing_notes, told_splits
from fbnetv5.onboarding.csv_boxes import ReadBoxes, box_columns, boxes_found, has_unknown_boxes, read_boxes
from fbnetv5.onboarding.found import Found, Ready
from fbnetv5.onboarding.listing import Claim, Listing, common_start, split_of
from fbnetv5.onboarding.mask_colours import TABLES

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
FOUND_SHARE = 0.5  # of the images that a file names must be there
COLUMNS_SHOWN = 5


@dataclass
class Labels:
    """What a file says.

    Attributes:
        labels: of each image, by its name in the file; images with several are left out.
        splits: of names whose row tells one.
        claims: the image of each name.
        is_plain: whether this program reads the file as it is.
        notes: on what is left out.
    """

    labels: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    claims: dict[Claim, str] = field(default_factory=dict)
    is_plain: bool = True
    notes: list[str] = field(default_factory=list)


def find_csv(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return the classes and the boxes that csv files say, and notes."""
    files: dict[str, Labels] = {}
    boxes, notes = ReadBoxes(), []
    for name in listing.with_suffix(".csv", ".tsv"):
        if PurePosixPath(name).name.lower() not in TABLES:
            notes += _read_file(listing, name, files, boxes)
    found, left_out = boxes_found(listing, boxes)
    notes += left_out
    if not files:
        return found, notes
    labels, said = _labels_found(files)
    return [labels, *found], [*notes, *said]


def _read_file(listing: Listing, name: str, files: dict[str, Labels], read: ReadBoxes) -> list[str]:
    """Add what a file says of labels or boxes; return a note where it is passed over."""
    try:
        text = (listing.root / name).read_bytes().decode("utf-8-sig")
        rows, delimiter = _rows(text)
    except (OSError, UnicodeDecodeError, csv.Error):
        return [f"{name}: left out, as it is no csv file in UTF-8"]
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0]]
    boxes = box_columns(listing, name, rows, IMAGE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
    if boxes is not None:
        read_boxes(listing, name, rows, boxes, read)
        return []
    shown = ", ".join(rows[0][:COLUMNS_SHOWN]) + (" ..." if len(rows[0]) > COLUMNS_SHOWN else "")
    if has_unknown_boxes(header):
        return [f"{name}: left out: boxes need columns such as image, xmin, ymin, xmax, ymax, class; it has {shown}"]
    columns = _columns(listing, name, rows, header)
    if columns is None:
        return [f"{name}: left out: labels need columns such as file_name and label; it has {shown}"]
    file = _read_labels(listing, name, rows, columns)
    if not file.labels:
        return file.notes or [f"{name}: left out, as it gives no image a label"]
    if not file.claims or len(file.claims) < FOUND_SHARE * len(file.labels):
        return [f"{name}: left out, as few of the images that it names are here"]
    file.is_plain &= delimiter == "," and {"file_name", "label"} <= set(rows[0])
    files[name] = file
    return []


def _read_labels(
    listing: Listing, name: str, rows: Sequence[Sequence[str]], columns: tuple[int, int, int | None, int]
) -> Labels:
    image_column, label_column, split_column, start = columns
    width = max(image_column, label_column)
    given: dict[str, list[str]] = defaultdict(list)
    file, is_tidy = Labels(), True  # without blanks around labels, which would make others of them
    for row in rows[start:]:
        if len(row) > width and row[label_column].strip():
            given[row[image_column]].append(row[label_column].strip())
            is_tidy &= row[label_column] == row[label_column].strip()
            if split_column is not None and split_column < len(row):
                file.splits[row[image_column]] = split_of(f"{row[split_column].strip()}/x")
    several = [text for text, labels in given.items() if len(set(labels)) > 1]
    if several:
        first = f"{several[0]} ({', '.join(dict.fromkeys(given[several[0]]))})"
        file.notes.append(f"{name}: {len(several):,} images with several labels, such as {first}, are left out")
    file.labels = {text: labels[0] for text, labels in given.items() if len(set(labels)) == 1}
    file.claims = claims_of(listing, file.labels, name)
    missing = len(file.labels) - len(file.claims)
    if missing:
        file.notes.append(f"{name}: {missing:,} images that it lists are not here")
    file.is_plain = is_tidy and not missing and all(len(labels) == 1 for labels in given.values())
    return file


def _labels_found(files: Mapping[str, Labels]) -> tuple[Found, list[str]]:
    """Return the labels of all files, of several of an image those of the first; and notes."""
    claims = {claim: image for file in files.values() for claim, image in file.claims.items()}
    images: dict[str, dict[str, str]] = defaultdict(dict)  # with their names, by file
    for claim, image in nearest(claims, equals=True).items():
        images[claim.near][image] = claim.name
    named = {name: set(images[name]) for name in files}
    taken = shared_out(named)
    notes = [note for file in files.values() for note in file.notes]
    notes += [*sharing_notes(named, taken), *left_out_notes(named, taken)]
    splits = told_splits(claims)
    values: dict[str, str] = {}
    ready: dict[str, Ready] = {}
    for name, own in taken.items():
        file, texts = files[name], {image: images[name][image] for image in own}
        values |= {image: file.labels[text] for image, text in texts.items()}
        splits |= {image: split for image, text in texts.items() if (split := file.splits.get(text))}
        told = {splits.get(image, "") for image in own}
        folder = common_start(texts)
        if file.is_plain and len(own) == len(file.claims) and folder is not None and len(told) == 1:
            ready.setdefault(told.pop(), Ready(folder, name))
    values = dict(sorted(values.items()))
    ready = ready if len(ready) == len(taken) else {}
    return Found("labels", FORMAT, tuple(taken), values, class_order(values.values()), splits, ready), notes


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
        heads = [listing.image_of(row[0], name) is not None for row in rows[:2]]
        start = 0 if heads[0] else 1
        given = [row[1].strip() for row in rows[start:] if len(row) > 1]
        are_classes = len(set(given)) <= max(2, len(given) / 2)  # not a number or a checksum of each
        return (0, 1, None, start) if heads[-1] and are_classes else None
    return None
