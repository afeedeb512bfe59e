"""YOLO's txt files: a line an object, its class and its box, polygon or keypoints as shares of the image's sides."""

from __future__ import annotations

from collections import Counter
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
LARGEST_ID = 65_535  # of a class; above it, as of frames and times, it is none
Row = tuple[int, list[float]]
Shape = tuple[int, int]  # how many keypoints, and how many numbers each has


@dataclass
class Read:
    """What the files say, by image, in pixels of the upright image."""

    boxes: dict[str, list[tuple[int, Box]]] = field(default_factory=dict)
    polygons: dict[str, list[tuple[int, list[float]]]] = field(default_factory=dict)
    people: dict[str, list[list[tuple[float, float, int]]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    file_of: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    num_wrong: int = 0
    num_outside: int = 0


def find_yolo(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return boxes, and masks or keypoints where there are some, of txt files; and notes."""
    files = [name for name in listing.with_suffix(".txt") if PurePosixPath(name).name not in NAME_FILES]
    files_of_names, damaged = _settings(listing)
    settings = next(iter(files_of_names.values()), {})
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
        return [], _notes(read)
    lists = _lists_of_names(listing, files_of_names, common_folder(read.file_of.values()))
    names_of, classes, unnamed = _named(read, lists)
    notes = [*damaged, *_notes(read), *unnamed, *([LIKE_POINTS] if is_posed else [])]
    values = {
        image: [box._replace(label=names_of[image][number]) for number, box in boxes]
        for image, boxes in read.boxes.items()
    }
    where = (*files_of_names,) if len({*lists.values()}) > 1 else (*files_of_names,)[:1]
    places = tuple(sorted({str(PurePosixPath(name).parent) for name in read.file_of.values() if "/" in name}))
    places = (*where, *(places[:2] or ("*.txt",)))
    splits = named_splits(listing, settings)
    found = [Found("boxes", FORMAT, places, values, classes, splits, sizes=read.sizes, notes=tuple(notes))]
    painted, lost = _painted(read, names_of)
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
        if float(first) != int(float(first)) or not 0 <= int(float(first)) <= LARGEST_ID:
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
    read.file_of = {image: claim.name for claim, image in nearest(claims).items()}
    read.orphans = sorted({name for name, content in rows.items() if content} - {*read.file_of.values()})
    return {image: rows[name] for image, name in read.file_of.items()}


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


def _painted(read: Read, names_of: Mapping[str, Sequence[str]]) -> tuple[dict[str, Painting], list[str]]:
    """Return the masks of images whose objects are all polygons, or that have none, and a note on the others.

    There are none where no object is a polygon.
    """
    painted: dict[str, Painting] = {}
    for image, boxes in read.boxes.items() if read.polygons else ():
        polygons = read.polygons.get(image, [])
        if len(polygons) < len(boxes):
            continue
        large = sorted(polygons, key=lambda entry: -_extent(entry[1]))
        regions = tuple(Region(names_of[image][number], [polygon]) for number, polygon in large)
        painted[image] = Painting(read.sizes[image], regions)
    lost = sum(bool(boxes) and image not in painted for image, boxes in read.boxes.items())
    return painted, [without_masks(lost)] if lost and read.polygons else []


def _extent(polygon: list[float]) -> float:
    xs, ys = polygon[::2], polygon[1::2]
    return (max(xs) - min(xs)) * (max(ys) - min(ys))


def _settings(listing: Listing) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Return the content of data.yaml, and other YAML files with ``names``, the outermost first, and notes."""
    found: dict[str, Mapping[str, Any]] = {}
    damaged = []
    for name in sorted(listing.with_suffix(".yaml", ".yml"), key=lambda name: (name.count("/"), name)):
        try:
            content = yaml.safe_load((listing.root / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            if not found:  # else it is hardly the one that should
                damaged.append(f"{name} cannot be read, and names no classes: {' '.join(str(error).split())}")
            continue
        if isinstance(content, dict) and isinstance(content.get("names"), (list, dict)):
            found[name] = content
    return found, damaged


def _lists_of_names(
    listing: Listing, settings: Mapping[str, Mapping[str, Any]], near: str
) -> dict[str, tuple[str, ...]]:
    """Return the names of classes by number, by the file that has them: YAML, or else text files of a name a line."""
    if settings:
        return {file: _listed(content["names"]) for file, content in settings.items()}
    lines = {name: text_of(listing.root / name).splitlines() for name in listing.called(NAME_FILES, near)}
    return {
        name: own for name, given in lines.items() if (own := tuple(line.strip() for line in given if line.strip()))
    }


def _listed(names: list[Any] | dict[Any, Any]) -> tuple[str, ...]:
    if isinstance(names, list):
        return tuple(map(str, names))
    numbered = {int(key): str(name) for key, name in names.items() if str(key).isdecimal() and int(key) <= LARGEST_ID}
    return tuple(numbered.get(number, f"class_{number}") for number in range(max(numbered, default=-1) + 1))


def _named(
    read: Read, lists: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], list[str]]:
    """Return the names of classes by number for each image, those of all, and notes.

    The names of a file of labels are those of the innermost folder around it that has some, or else the first.
    """
    files: dict[str, tuple[str, ...]] = {}
    for file, names in lists.items():
        files.setdefault(str(PurePosixPath(file).parent), names)
    counts: dict[tuple[str, ...], int] = {}
    first, names_of = next(iter(lists.values()), ()), {}
    for image in read.boxes:
        around = (str(folder) for folder in PurePosixPath(read.file_of[image]).parents)
        names = next((files[folder] for folder in around if folder in files), first)
        counts[names] = max([counts.get(names, 0), *(1 + number for number, _ in read.boxes[image])])
        names_of[image] = names
    whole = {
        names: (*names, *(f"class_{number}" for number in range(len(names), count))) for names, count in counts.items()
    }
    ordered = sorted(whole.values(), key=lambda names: names[: len(first)] != first)
    classes = tuple(dict.fromkeys(name for names in ordered for name in names))
    notes = [
        f"class ids go to {count - 1}, but {len(names)} have names"
        for names, count in counts.items()
        if count > len(names)
    ]
    twice = [name for name, count in Counter(first).items() if count > 1]
    notes += [f"several class ids are called {twice[0]}: they are taken as one class"] if twice else []
    return {image: whole[names] for image, names in names_of.items()}, classes, notes


def _notes(read: Read) -> list[str]:
    orphans, wrong = len(read.orphans), read.num_wrong
    return [
        *([f"{orphans:,} txt files without an image of their own, such as {read.orphans[0]}"] if orphans else []),
        *([f"{wrong:,} txt files hold lines that are no labels, and are left out"] if wrong else []),
        *([unread_images(read.unread)] if read.unread else []),
        *left_out_boxes(read.num_outside),
    ]
