"""YOLO's txt files: a line an object, its class and its box, polygon or keypoints as shares of the image's sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from fbnetv5.data.keypoints import mirror_order
from fbnetv5.onboarding.claims import nearest
from fbnetv5.onboarding.found import Box, Found, Painting, Region, left_out_boxes, text_of, without_masks
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
PROBED = 30  # files that are looked at before all are read
Row = tuple[int, list[float]]


@dataclass
class Read:
    """What the files say, by image, in pixels of the upright image."""

    boxes: dict[str, list[tuple[int, Box]]] = field(default_factory=dict)
    polygons: dict[str, list[tuple[int, list[float]]]] = field(default_factory=dict)
    people: dict[str, list[list[tuple[float, float, int]]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    num_wrong: int = 0
    num_outside: int = 0


def find_yolo(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return boxes, and masks or keypoints where there are some, of txt files; and notes."""
    files = [name for name in listing.with_suffix(".txt") if PurePosixPath(name).name not in NAME_FILES]
    probed = _probed(listing, files)
    if not any(probed) or 2 * sum(map(_is_sound, probed)) <= len(probed):
        in_pixels = sum(map(_is_in_pixels, probed))
        return [], [IN_PIXELS.format(len(files))] if 2 * in_pixels > len(probed) else []
    settings, where, damaged = _settings(listing)
    read = Read()
    for image, rows in _read_files(listing, files, read).items():
        _add(listing, image, rows, read, _point_shape(settings))
    if not any(read.boxes.values()):
        return [], []
    names = _names(listing, settings, common_folder(read.used))
    most = max(number for boxes in read.boxes.values() for number, _ in boxes)
    notes = [*damaged, *_notes(read, len(names), most)]
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


def parse_rows(text: str) -> list[Row]:
    """Return the (class, numbers) of each line: cx cy w h, or x y of three points or more, as shares of the sides.

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
        if len(numbers) < 4 or not all(-0.5 <= value <= 1.5 for value in numbers[:4]):
            raise ValueError(line)
        rows.append((int(float(first)), numbers))
    return rows


def _probed(listing: Listing, files: list[str]) -> list[str]:
    """Return what some of the files that have an image's name hold; empty where one is no text."""
    named = [name for name in files if listing.image_of(name, name)]
    texts = []
    for name in named[:: max(1, len(named) // PROBED)]:
        try:
            texts.append((listing.root / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            texts.append("")
    return texts


def _is_sound(text: str) -> bool:
    """Whether all lines are rows."""
    try:
        parse_rows(text)
    except (ValueError, OverflowError):
        return False
    return True


def _is_in_pixels(text: str) -> bool:
    """Whether lines have a class and four numbers, of which some are too large for shares."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    try:
        numbers = [[float(value) for value in row] for row in rows]
    except ValueError:
        return False
    return bool(rows) and all(len(row) == 5 for row in rows) and any(max(row[1:]) > 1.5 for row in numbers)


def _read_files(listing: Listing, files: list[str], read: Read) -> dict[str, list[Row]]:
    """Return the rows of each image, of the file that is nearest to it."""
    rows, claims = {}, {}
    for name in files:
        image = listing.image_of(name, name)
        try:
            rows[name] = parse_rows((listing.root / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, OverflowError):
            read.num_wrong += image is not None
            continue
        if image is not None:
            claims[Claim(name, name)] = image
    held = {image: claim.name for claim, image in nearest(claims).items()}
    read.used = list(held.values())
    read.orphans = sorted({name for name, content in rows.items() if content} - {*read.used})
    return {image: rows[name] for image, name in held.items()}


def _add(listing: Listing, image: str, rows: list[Row], read: Read, shape: tuple[int, int] | None) -> None:
    """Add the objects of an image."""
    size = listing.size(image)
    if size is None:
        return
    read.sizes[image] = size
    read.boxes.setdefault(image, [])
    for number, values in rows:
        polygon = [value * size[k % 2] for k, value in enumerate(values)] if len(values) >= 6 else []
        if shape is not None and len(values) == 4 + shape[0] * shape[1]:
            read.people.setdefault(image, []).append(_points(values[4:], shape[1], size))
        if polygon and shape is None and len(values) % 2 == 0:
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


def _point_shape(settings: Mapping[str, Any]) -> tuple[int, int] | None:
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
        *left_out_boxes(read.num_outside),
        *([f"class ids go to {most}, but {num_names} have names"] if most >= num_names else []),
    ]
