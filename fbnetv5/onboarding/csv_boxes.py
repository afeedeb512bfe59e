"""Csv files of boxes, a row a box: with a header of corners, or without one as RetinaNet's readers have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fbnetv5.data.folders import class_order
from fbnetv5.onboarding.claims import claims_of, left_out_notes, nearest, shared_out, sharing_notes, told_splits
from fbnetv5.onboarding.found import Box, Found, left_out_boxes, unread_images
from fbnetv5.onboarding.listing import Claim, Listing, split_of

FORMAT = "csv of boxes"
CORNERS = (  # left, top, right, bottom
    *(("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2")),
    *(("left", "top", "right", "bottom"), ("bbox_xmin", "bbox_ymin", "bbox_xmax", "bbox_ymax")),
)
SIDES = (  # left, top, width, height
    *(("bbox_x", "bbox_y", "bbox_width", "bbox_height"), ("bbox_left", "bbox_top", "bbox_width", "bbox_height")),
    *(("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height")),
)
UNKNOWN = (  # columns of files of boxes that are written in another way
    *({"xmin"}, {"x_min"}, {"x1"}, {"bbox"}, {"bbox_x"}, {"bbox_xmin"}, {"bbox_left"}, {"x_center"}, {"xcenter"}),
    *({"x_centre"}, {"cx", "cy"}, {"x", "y"}, {"left", "top"}),
)
SIZES = (("width", "height"), ("image_width", "image_height"), ("img_width", "img_height"))
HEADERLESS = 6  # columns: image, four corners, class
LARGEST_SHARE = 1.5  # of a side: boxes that are rounded, or reach out of their image
ONE_CLASS = "object"  # where there is no column of classes
Row = Sequence[str]


@dataclass(frozen=True)
class Columns:
    """Positions of what a row holds.

    Attributes:
        image, label, split: None where there is no such column.
        corners: left, top, right, bottom; with ``has_sides``, left, top, width, height.
        size: width and height of the image.
        start: the first row.
    """

    image: int
    corners: tuple[int, ...]
    label: int | None
    split: int | None = None
    size: tuple[int, ...] = ()
    has_sides: bool = False
    start: int = 1


class Given(NamedTuple):
    """What a row says: of which image it is, its split, and its box as it stands there; None: there is none.

    ``size`` is the image's (width, height), where the file says it.
    """

    claim: Claim
    split: str
    box: tuple[str, tuple[float, ...]] | None
    size: tuple[int, int] | None


@dataclass
class ReadBoxes:
    """What the files say, row by row, and by image."""

    rows: list[Given] = field(default_factory=list)
    claims: dict[Claim, str] = field(default_factory=dict)
    boxes: dict[str, list[tuple[str, tuple[float, ...]]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    num_missing: int = 0
    num_wrong: int = 0


def box_columns(
    listing: Listing,
    name: str,
    rows: Sequence[Row],
    images: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str],
) -> Columns | None:
    """Return the columns of a file of boxes; None if it is none.

    Args:
        listing: the files, which tell images.
        name: of the file.
        rows: of the file, the first of which may be a header.
        images, labels, splits: names that these columns may have.
    """
    header = [cell.strip().lower() for cell in rows[0]]

    def place(names: Sequence[str]) -> int | None:
        return next((header.index(one) for one in names if one in header), None)

    image = place(images)
    for kinds, has_sides in ((CORNERS, False), (SIDES, True)):
        for kind in kinds:
            if image is not None and set(kind) <= set(header):
                others = set(header) - {*kind}
                sizes = [tuple(map(header.index, pair)) for pair in SIZES if set(pair) <= others]
                corners = tuple(map(header.index, kind))
                return Columns(image, corners, place(labels), place(splits), (*sizes, ())[0], has_sides)
    first = rows[0]
    has_corners = len(first) == HEADERLESS and all(_number(cell) is not None or not cell.strip() for cell in first[1:5])
    is_image = has_corners and listing.image_of(first[0], name) is not None
    return Columns(0, (1, 2, 3, 4), 5, start=0) if is_image else None


def has_unknown_boxes(header: Collection[str]) -> bool:
    """Whether columns, in small letters, are of boxes that :func:`box_columns` does not know."""
    return any(names <= {*header} for names in UNKNOWN)


def read_boxes(listing: Listing, name: str, rows: Sequence[Row], columns: Columns, read: ReadBoxes) -> None:
    """Add the rows of a file; one without corners says that its image has no box."""
    needed = max(columns.image, *columns.corners, columns.label or 0)
    read.used.append(name)
    given = [row for row in rows[columns.start :] if len(row) > columns.image]
    read.claims |= claims_of(listing, dict.fromkeys(row[columns.image] for row in given), name)
    for row in given:
        split = split_of(f"{_cell(row, columns.split).strip()}/x")
        cells = [row[place] for place in columns.corners] if len(row) > needed else []
        box = None
        if not cells or any(cell.strip() for cell in cells):
            numbers = [number for cell in cells if (number := _number(cell)) is not None]
            if len(numbers) < len(columns.corners):
                read.num_wrong += 1
            else:
                if columns.has_sides:
                    numbers[2:] = [numbers[0] + numbers[2], numbers[1] + numbers[3]]
                box = _cell(row, columns.label).strip() or ONE_CLASS, tuple(numbers)
        size = [_number(_cell(row, place)) for place in columns.size]
        sides = (int(size[0] or 0), int(size[1] or 0)) if size else (0, 0)
        read.rows.append(Given(Claim(row[columns.image], name), split, box, sides if min(sides) > 0 else None))


def _settle(read: ReadBoxes) -> list[str]:
    """Share the rows among the images, and return notes on files that share some."""
    files: dict[str, set[str]] = {claim.near: set() for claim in read.claims}
    classes: dict[str, set[str]] = defaultdict(set)
    held = nearest(read.claims, equals=True)
    for claim, image in held.items():
        files[claim.near].add(image)
    for row in read.rows:
        classes[row.claim.near] |= {row.box[0]} if row.box else set()
    taken = shared_out(files, classes)
    read.splits = told_splits(read.claims)
    for row in read.rows:
        if row.split and row.claim in read.claims:
            read.splits[read.claims[row.claim]] = row.split
        if row.claim.near in files and row.claim.near not in taken:
            continue
        if row.claim not in held:
            read.num_missing += 1
        elif (image := held[row.claim]) in taken[row.claim.near]:
            read.boxes.setdefault(image, []).extend([row.box] if row.box else [])
            read.sizes |= {image: row.size} if row.size else {}
    read.used = [name for name in read.used if name in taken]
    return [*sharing_notes(files, taken), *left_out_notes(files, taken)]


def boxes_found(listing: Listing, read: ReadBoxes) -> tuple[list[Found], list[str]]:
    """Return the boxes, cut at the border of their images, and notes; of classes in order, the frame they are for."""
    given = ", ".join(read.used)
    sharing = _settle(read)
    if not any(read.boxes.values()):
        return [], [f"{given}: {note}" for note in _left_out(read)]
    corners = [corner for boxes in read.boxes.values() for _, box in boxes for corner in box]
    is_share = max(corners) <= LARGEST_SHARE
    values, sizes, unread = {}, {}, []
    num_outside = 0
    for image, boxes in read.boxes.items():
        size = read.sizes.get(image) or listing.size(image)
        if size is None:
            unread.append(image)
            continue
        sizes[image] = size
        scale = (*size, *size) if is_share else (1, 1, 1, 1)
        values[image] = [box for label, given in boxes if (box := _box(label, given, scale, size)) is not None]
        num_outside += len(boxes) - len(values[image])
    classes = class_order(box.label for boxes in values.values() for box in boxes)
    notes = [
        *(["corners are shares of the image's sides"] if is_share else []),
        *_left_out(read),
        *([unread_images(unread)] if unread else []),
        *left_out_boxes(num_outside),
        *listing.size_notes(sizes),
        *sharing,
    ]
    found = Found("boxes", FORMAT, tuple(read.used), values, classes, read.splits, sizes=sizes, notes=tuple(notes))
    return [found], []


def _left_out(read: ReadBoxes) -> list[str]:
    """Return notes on rows of images that are not here, and on those without a box that can be read."""
    return [
        *([f"{read.num_missing:,} rows name images that are not here"] if read.num_missing else []),
        *([f"{read.num_wrong:,} rows without four numbers are left out"] if read.num_wrong else []),
    ]


def _box(label: str, given: tuple[float, ...], scale: tuple[int, ...], size: tuple[int, int]) -> Box | None:
    x1, y1, x2, y2 = (value * factor for value, factor in zip(given, scale, strict=True))
    box = Box(max(0.0, x1), max(0.0, y1), min(float(size[0]), x2), min(float(size[1]), y2), label)
    return box if box.x2 > box.x1 and box.y2 > box.y1 else None


def _cell(row: Row, place: int | None) -> str:
    return row[place] if place is not None and place < len(row) else ""


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None
