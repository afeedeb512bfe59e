"""YOLO's txt files: a line an object, its class and its box, polygon or keypoints as shares of the image's sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from fbnetv5.data.keypoints import mirror_order
from fbnetv5.onboarding.claims import nearest
from fbnetv5.onboarding.found import Box, Found, Painting, Region, left_out_boxes, text_of, unread_images, without_masks
from fbnetv5.onboarding.listing import Claim, Listing, common_folder
from fbnetv5.onboarding.split_lists import named_splits

FORMAT = "YOLO txt"
COCO_POINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
NAME_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
IN_PIXELS = "{:,} txt files left out: YOLO's lines, but in pixels; its boxes are shares of the image's sides, cx cy w h"
NO_LINES = "{:,} txt files named as images left out: they hold no lines of YOLO's (class cx cy w h), such as {}"
LIKE_POINTS = "lines look like boxes with keypoints, which need kpt_shape: [number, 2 or 3] in data.yaml; boxes taken"
PROBED = 30  # files that are looked at before all are read
LARGEST_SHARE = 1.5  # of a side, and LEAST_SHARE: what reaches out of its image is cut
LEAST_SHARE = -0.5
Row = tuple[int, list[float]]
Shape = tuple[int, int]  # how many keypoints, and how many numbers each has


@dataclass
class Read:
    """What the files say, by image, in pixels of the upright image."""

    boxes: dict[str, list[tuple[int, Box]]] = field(default_factory=dict)
    polygons: dict[str, list[tuple[int, list[float]]]] = field(default_factory=dict)
    people: dict[str, list[list[tuple[float, float, int]]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    num_wrong: int = 0
    num_outside: int = 0


def find_yolo(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return boxes, and masks or keypoints where there are some, of txt files; and notes."""
    files = [name for name in listing.with_suffix(".txt") if PurePosixPath(name).name not in NAME_FILES]
    settings, where, damaged = _settings(listing)
    shape = _point_shape(settings)
    named = [name for name in files if listing.image_of(name, name)]
    probed = _probed(listing, named)
    if not probed:
        return [], []
    if 2 * sum(_is_sound(text, shape) for text in probed) <= len(probed):
        in_pixels = sum(map(_is_in_pixels, probed))
        is_in_pixels = 2 * in_pixels > len(probed)
        return [], [IN_PIXELS.format(len(files)) if is_in_pixels else NO_LINES.format(len(named), named[0])]
    read = Read()
    rows_of = _read_files(listing, files, read, shape)
    is_posed = shape is None and _looks_posed([row for rows in rows_of.values() for row in rows])
    for image, rows in rows_of.items():
        _add(listing, image, rows, read, shape, has_outlines=shape is None and not is_posed)
    if not any(read.boxes.values()):
        return [], _notes(read, 1, 0)
    names = _names(listing, settings, common_folder(read.used))
    most = max(number for boxes in read.boxes.values() for number, _ in boxes)
    notes = [*damaged, *_notes(read, len(names), most), *([LIKE_POINTS] if is_posed else [])]
    classes = (*names, *(f"class_{number}" for number in range(len(names), most + 1)))
    values = {
        image: [box._replace(label=classes[number]) for number, box in boxes] for image, boxes in read.boxes.items()
    }
    places = tuple(sorted({str(PurePosixPath(name).parent) for name in read.used if "/" in name}))
    places = (*where, *(places[:2] or ("*.txt",)))
    splits = named_splits(listing, settings)
    found = [Found("boxes", FORMAT, places, values, classes, splits, sizes=read.sizes, notes=tuple(notes))]
    painted, lost = _painted(read, classes)
    if painted:
        shown = ("background", *(name for name in classes if name != "background"))
        drawn = ["drawn of the polygons; where they overlap, the smaller one is above", *lost]
        masks = Found("masks", f"{FORMAT}, polygons", places, painted, shown, sizes=read.sizes, notes=tuple(drawn))
        found.append(masks)
    return [*found, *_posed(read, settings, places)], [] if painted else lost


def parse_rows(text: str, shape: Shape | None = None) -> list[Row]:
    """Return the (class, numbers) of each line: cx cy w h, or x y of three points or more, as shares of the sides.

    After cx cy w h may stand the confidence of a detector; with ``shape``, that of keypoints, these instead.

    Raises:
        ValueError: a line is none.
    """
    rows = []
    for line in text.splitlines():
        if not line.strip():
            continue
        first, *rest = line.split()
        numbers = [float(value) for value in rest]
        if float(first) != int(float(first)) or int(float(first)) < 0:
            raise ValueError(f"class {first}")
        is_box = len(numbers) in (4, 5) or (shape is not None and len(numbers) == 4 + shape[0] * shape[1])
        is_outline = shape is None and len(numbers) >= 6 and len(numbers) % 2 == 0
        shares = numbers[:4] if is_box else numbers
        if not (is_box or is_outline) or not all(LEAST_SHARE <= value <= LARGEST_SHARE for value in shares):
            raise ValueError(line)
        rows.append((int(float(first)), numbers))
    return rows


def _probed(listing: Listing, named: list[str]) -> list[str]:
    """Return what some of the files hold that have an image's name and are not empty; ``?`` where one is no text."""
    filled = [name for name in named if _num_bytes(listing.root / name)]
    texts = []
    for name in filled[:: max(1, len(filled) // PROBED)]:
        try:
            texts.append((listing.root / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            texts.append("?")
    return [text for text in texts if text.strip()]


def _num_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _is_sound(text: str, shape: Shape | None) -> bool:
    """Whether all lines are rows."""
    try:
        parse_rows(text, shape)
    except (ValueError, OverflowError):
        return False
    return True


def _looks_posed(rows: Sequence[Row]) -> bool:
    """Whether all rows that could be outlines are boxes with points inside of them, or at 0, 0."""
    longer = [values for _, values in rows if len(values) >= 6]
    return bool(longer) and any(all(_holds_points(values, width) for values in longer) for width in (2, 3))


def _holds_points(values: list[float], width: int) -> bool:
    """Whether four numbers are a box, and of the others each ``width`` are a point in it."""
    x, y, *sides = values[:4]
    points = [values[k : k + 2] for k in range(4, len(values), width)]
    if (len(values) - 4) % width or min(sides) <= 0:
        return False
    return all(
        point == [0, 0] or (abs(point[0] - x) <= 0.5 * sides[0] and abs(point[1] - y) <= 0.5 * sides[1])
        for point in points
    )


def _is_in_pixels(text: str) -> bool:
    """Whether lines have a class and four numbers, of which some are too large for shares."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    try:
        numbers = [[float(value) for value in row] for row in rows]
    except ValueError:
        return False
    return bool(rows) and all(len(row) == 5 for row in rows) and any(max(row[1:]) > 1.5 for row in numbers)


def _read_files(listing: Listing, files: list[str], read: Read, shape: Shape | None) -> dict[str, list[Row]]:
    """Return the rows of each image, of the file that is nearest to it."""
    rows, claims = {}, {}
    for name in files:
        image = listing.image_of(name, name)
        try:
            rows[name] = parse_rows((listing.root / name).read_text(encoding="utf-8-sig"), shape)
        except (OSError, ValueError, OverflowError):
            read.num_wrong += image is not None
            continue
        if image is not None:
            claims[Claim(name, name)] = image
    held = {image: claim.name for claim, image in nearest(claims).items()}
    read.used = list(held.values())
    read.orphans = sorted({name for name, content in rows.items() if content} - {*read.used})
    return {image: rows[name] for image, name in held.items()}


def _add(listing: Listing, image: str, rows: list[Row], read: Read, shape: Shape | None, *, has_outlines: bool) -> None:
    """Add the objects of an image."""
    size = listing.size(image)
    if size is None:
        read.unread += [image] if rows else []
        return
    read.sizes[image] = size
    read.boxes.setdefault(image, [])
    for number, values in rows:
        polygon = [value * size[k % 2] for k, value in enumerate(values)] if len(values) >= 6 else []
        if shape is not None and len(values) == 4 + shape[0] * shape[1]:
            read.people.setdefault(image, []).append(_points(values[4:], shape[1], size))
        if polygon and has_outlines:
            read.polygons.setdefault(image, []).append((number, polygon))
            xs, ys = polygon[::2], polygon[1::2]
            corners = (min(xs), min(ys), max(xs), max(ys))
        else:
            x, y, width, height = (value * size[k % 2] for k, value in enumerate(values[:4]))
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        box = Box(max(0, corners[0]), max(0, corners[1]), min(size[0], corners[2]), min(size[1], corners[3]), "")
        if box.x2 > box.x1 and box.y2 > box.y1:
            read.boxes[image].append((number, box))
        else:
            read.num_outside += 1


def _point_shape(settings: Mapping[str, Any]) -> Shape | None:
    """Return how many keypoints an object has, and whether 2 or 3 numbers each; None where it has none."""
    shape = settings.get("kpt_shape")
    is_sound = isinstance(shape, list) and len(shape) == 2 and all(type(entry) is int for entry in shape)
    return (shape[0], shape[1]) if shape and is_sound and shape[0] > 0 and shape[1] in (2, 3) else None


def _points(values: list[float], width: int, size: tuple[int, int]) -> list[tuple[float, float, int]]:
    """Return points x, y in pixels and visibility; without the last, those at 0, 0 are unlabelled."""
    points = []
    for x, y, *visibility in (values[k : k + width] for k in range(0, len(values), width)):
        seen = int(visibility[0]) if visibility else 2 * int((x, y) != (0, 0))
        points.append((x * size[0], y * size[1], seen) if seen in (1, 2) else (0.0, 0.0, 0))
    return points


def _posed(read: Read, settings: Mapping[str, Any], places: tuple[str, ...]) -> list[Found]:
    """Return the keypoints of images that show one object with some."""
    seen = {image: [p for p in people if any(v for _, _, v in p)] for image, people in read.people.items()}
    values = {image: people[0] for image, people in seen.items() if len(people) == 1}
    if not values:
        return []
    several = sum(len(people) > 1 for people in seen.values())
    count = len(next(iter(values.values())))
    names, order, note = _point_names(settings, count)
    notes = [note, *([f"{several:,} images show several objects with keypoints and are left out"] if several else [])]
    return [
        Found(
            *("keypoints", f"{FORMAT}, pose", places, values, names),
            sizes=read.sizes,
            notes=tuple(notes),
            can_mirror=order is not None,
        )
    ]


def _point_names(settings: Mapping[str, Any], count: int) -> tuple[tuple[str, ...], list[int] | None, str]:
    """Return names of keypoints by which partners of the left and the right are known, flip_idx, and a note."""
    order = settings.get("flip_idx")
    is_order = isinstance(order, list) and sorted(map(str, order)) == sorted(map(str, range(count)))
    if not isinstance(order, list) or not is_order or any(order[other] != k for k, other in enumerate(order)):
        return tuple(f"point_{k}" for k in range(count)), None, "no flip_idx: images are not mirrored in training"
    if count == len(COCO_POINTS) and order == mirror_order(COCO_POINTS):
        return COCO_POINTS, order, "names of keypoints: those of COCO"
    sides = ("", "left_", "right_")
    names = tuple(f"{sides[(other > k) + 2 * (other < k)]}point_{min(k, other)}" for k, other in enumerate(order))
    return names, order, "names of keypoints are made up; partners of the left and the right are those of flip_idx"


def _painted(read: Read, classes: tuple[str, ...]) -> tuple[dict[str, Painting], list[str]]:
    """Return the masks of images whose objects are all polygons, or that have none, and a note on the others.

    There are none where no object is a polygon.
    """
    painted: dict[str, Painting] = {}
    for image, boxes in read.boxes.items() if read.polygons else ():
        polygons = read.polygons.get(image, [])
        if len(polygons) < len(boxes):
            continue
        large = sorted(polygons, key=lambda entry: -_extent(entry[1]))
        regions = tuple(Region(classes[number], [polygon]) for number, polygon in large)
        painted[image] = Painting(read.sizes[image], regions)
    lost = sum(bool(boxes) and image not in painted for image, boxes in read.boxes.items())
    return painted, [without_masks(lost)] if lost and read.polygons else []


def _extent(polygon: list[float]) -> float:
    xs, ys = polygon[::2], polygon[1::2]
    return (max(xs) - min(xs)) * (max(ys) - min(ys))


def _settings(listing: Listing) -> tuple[Mapping[str, Any], tuple[str, ...], list[str]]:
    """Return the content of data.yaml, or of another YAML file with ``names``, its name, and notes on damaged ones."""
    damaged = []
    for name in sorted(listing.with_suffix(".yaml", ".yml"), key=lambda name: (name.count("/"), name)):
        try:
            content = yaml.safe_load((listing.root / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            damaged.append(f"{name} cannot be read, and names no classes: {' '.join(str(error).split())}")
            continue
        if isinstance(content, dict) and isinstance(content.get("names"), (list, dict)):
            return content, (name,), damaged
    return {}, (), damaged


def _names(listing: Listing, settings: Mapping[str, Any], near: str) -> tuple[str, ...]:
    names = settings.get("names")
    if isinstance(names, dict):
        keys = [key for key in names if isinstance(key, int) and key >= 0]
        return tuple(str(names.get(number, f"class_{number}")) for number in range(max(keys, default=-1) + 1))
    if isinstance(names, list):
        return tuple(map(str, names))
    for name in listing.called(NAME_FILES, near):
        if lines := tuple(line.strip() for line in text_of(listing.root / name).splitlines() if line.strip()):
            return lines
    return ()


def _notes(read: Read, num_names: int, most: int) -> list[str]:
    orphans, wrong = len(read.orphans), read.num_wrong
    return [
        *([f"{orphans:,} txt files without an image of their own, such as {read.orphans[0]}"] if orphans else []),
        *([f"{wrong:,} txt files hold lines that are no labels, and are left out"] if wrong else []),
        *([unread_images(read.unread)] if read.unread else []),
        *left_out_boxes(read.num_outside),
        *([f"class ids go to {most}, but {num_names} have names"] if most >= num_names else []),
    ]
