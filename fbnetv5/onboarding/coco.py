"""COCO json files: boxes, instance masks as polygons or run lengths, crowds, and keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco_file import CocoFile, box_of, read_coco_file
from fbnetv5.data.index_checks import BORDER_TOLERANCE
from fbnetv5.data.keypoints import parse_points
from fbnetv5.onboarding.found import Box, Found, Painting, Ready, Region
from fbnetv5.onboarding.listing import Listing, common_start, split_of

FORMAT = "COCO json"
SPARSE = 0.3  # share of listed images without annotations from which on they are taken as unlabelled, not as empty


@dataclass
class Content:
    """What a file says of the images that exist, by image: all but what this program cannot take.

    Attributes:
        classes: names of the categories, by id.
        is_clean: whether nothing had to be changed or left out.
    """

    classes: tuple[str, ...]
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    regions: dict[str, list[tuple[float, Region]]] = field(default_factory=dict)  # with areas
    people: dict[str, list[Any]] = field(default_factory=dict)
    joints: tuple[str, ...] = ()
    start: str | None = None
    is_clean: bool = True
    num_missing: int = 0
    num_dropped: int = 0


def find_coco(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return what COCO files below a folder say, of boxes, masks and keypoints, and notes on the others."""
    contents: dict[str, Content] = {}
    notes = []
    for name in listing.with_suffix(".json"):
        if not _looks_right(listing, name):
            continue
        try:
            content = read_content(read_coco_file(listing.root / name), name, listing)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        if content.boxes:
            contents[name] = content
        else:
            notes.append(f"{name}: left out, as none of its images is here")
    ordered = sorted(contents, key=lambda name: (bool(contents[name].joints), name))  # instances before people
    makers = (_boxes_found, _masks_found, _keypoints_found)
    return [found for maker in makers if (found := maker({name: contents[name] for name in ordered}))], notes


def read_content(file: CocoFile, name: str, listing: Listing) -> Content:
    """Return what a file, ``name`` below the folder, says of the images of a folder.

    Raises:
        InputError: its categories are wrong.
    """
    classes, _ = file.labels()
    label_of = {entry["id"]: entry["name"] for entry in file.categories}
    joints = [entry for entry in file.categories if isinstance(entry.get("keypoints"), list) and entry["keypoints"]]
    content = Content(classes)
    if len(joints) == 1:
        content.joints = tuple(joints[0]["keypoints"])
    images = _images(file, name, listing, content)
    for where, entry in file.annotations():
        image, label = images.get(entry.get("image_id")), label_of.get(entry.get("category_id"))
        if image is None or label is None:
            content.is_clean, content.num_dropped = False, content.num_dropped + (image is not None)
            continue
        _add(content, image, label, entry, where)
        if content.joints and entry.get("category_id") == joints[0]["id"]:
            _add_person(content, image, entry, where)
    return content


def _images(file: CocoFile, name: str, listing: Listing, content: Content) -> dict[Any, str]:
    """Return the image of each id, among those that exist."""
    found: dict[Any, str] = {}
    for key, entry in file.images.items():
        image = listing.image_of(entry["file_name"], name)
        if image is None or image in content.boxes:
            content.num_missing += 1
            continue
        found[key] = image
        content.boxes[image] = []
        size = entry.get("width"), entry.get("height")
        if all(type(side) is int and side > 0 for side in size):
            content.sizes[image] = size  # type: ignore[assignment]  # two whole numbers, as just seen
    content.start = common_start({image: file.images[key]["file_name"] for key, image in found.items()})
    content.is_clean = content.start is not None and not content.num_missing
    return found


def _add(content: Content, image: str, label: str, entry: Mapping[str, Any], where: str) -> None:
    """Add an annotation's box, cut at the border of its image, and its outline."""
    crowd = bool(entry.get("iscrowd"))
    try:
        x, y, width, height = box_of(entry, where)
    except InputError:
        content.is_clean, content.num_dropped = False, content.num_dropped + 1
        return
    right, bottom = content.sizes.get(image, (float("inf"), float("inf")))
    corners = (max(0.0, x), max(0.0, y), min(right, x + width), min(bottom, y + height))
    if max(abs(a - b) for a, b in zip(corners, (x, y, x + width, y + height), strict=True)) > BORDER_TOLERANCE:
        content.is_clean = False
    if corners[2] > corners[0] and corners[3] > corners[1]:
        content.boxes[image].append(Box(*corners, label, crowd))
        outline = entry.get("segmentation")
        if _is_outline(outline, (x, y, width, height)):
            content.regions.setdefault(image, []).append((width * height, Region(label, outline)))
    elif not (width == 0 or height == 0):  # those the program leaves out itself
        content.is_clean, content.num_dropped = False, content.num_dropped + 1


def _add_person(content: Content, image: str, entry: Mapping[str, Any], where: str) -> None:
    try:
        points = parse_points(entry.get("keypoints"), len(content.joints), where)
    except InputError:
        content.num_dropped += 1
        content.is_clean = False
        return
    if not entry.get("iscrowd") and any(visibility for _, _, visibility in points):
        content.people.setdefault(image, []).append(points)


def _is_outline(outline: Any, box: tuple[float, float, float, float]) -> bool:
    """Whether an annotation has a mask that is not just its box again."""
    if isinstance(outline, dict):
        return {"counts", "size"} <= set(outline)
    if not isinstance(outline, list) or not all(isinstance(part, list) and len(part) >= 6 for part in outline):
        return False
    if len(outline) != 1 or len(outline[0]) not in (8, 10):
        return bool(outline)
    x, y, width, height = box
    edges = (x, x + width), (y, y + height)
    return any(min(abs(value - edge) for edge in edges[k % 2]) > 1 for k, value in enumerate(outline[0]))


def _boxes_found(contents: Mapping[str, Content]) -> Found | None:
    values: dict[str, list[Box]] = {}
    used: dict[str, Content] = {}
    for name, content in contents.items():
        own = {image: boxes for image, boxes in content.boxes.items() if image not in values}
        if len(own) == len(content.boxes) and any(map(len, own.values())):
            values |= own
            used[name] = content
    if not used:
        return None
    notes = [*_unlabelled(values), *_notes(used)]
    return _found("boxes", used, values, _classes(used), notes)


def _unlabelled(values: dict[str, list[Box]]) -> list[str]:
    """Take images without boxes out where there are many: they are unlabelled rather than empty."""
    empty = [image for image, boxes in values.items() if not boxes]
    if len(empty) <= SPARSE * len(values):
        return []
    for image in empty:
        del values[image]
    share = len(empty) / (len(empty) + len(values))
    return [f"{len(empty):,} images without boxes ({share:.0%}) are taken as unlabelled, not as empty"]


def _masks_found(contents: Mapping[str, Content]) -> Found | None:
    """Masks that are to be drawn of outlines, small ones above; pixels without one are background."""
    with_outlines = {name: content for name, content in contents.items() if content.regions}
    if not with_outlines:
        return None
    values = {}
    for content in with_outlines.values():
        for image, boxes in content.boxes.items():
            regions = sorted(content.regions.get(image, ()), key=lambda entry: -entry[0])
            size = content.sizes.get(image)
            if size is not None and len(regions) == len(boxes) and boxes:
                values[image] = Painting(size, tuple(region for _, region in regions))
    if not values:
        return None
    classes = ("background", *(name for name in _classes(with_outlines) if name != "background"))
    notes = ["drawn of the outlines in the json files; crowds too; where outlines overlap, the smaller one is above"]
    return _found("masks", with_outlines, values, classes, notes, ready=False)


def _keypoints_found(contents: Mapping[str, Content]) -> Found | None:
    posed = {name: content for name, content in contents.items() if content.joints}
    if not posed:
        return None
    joints = next(iter(posed.values())).joints
    used = {name: content for name, content in posed.items() if content.joints == joints and content.people}
    values = {
        image: people[0] for content in used.values() for image, people in content.people.items() if len(people) == 1
    }
    num_crowded = sum(len(people) > 1 for content in used.values() for people in content.people.values())
    if not values:
        return None
    notes = []
    if num_crowded:
        notes.append(f"{num_crowded:,} images show several people and are left out; cut people out first, see docs")
    return _found("keypoints", used, values, joints, notes, ready=not num_crowded)


def _found(
    target: str,
    used: Mapping[str, Content],
    values: Mapping[str, Any],
    classes: tuple[str, ...],
    notes: Sequence[str],
    *,
    ready: bool = True,
) -> Found:
    splits: dict[str, str] = {}
    places: dict[str, Ready] = {}
    for name, content in used.items():
        told = split_of(name, is_file=True)
        if told:
            splits |= dict.fromkeys(content.boxes, told)
        fits = content.is_clean and content.start is not None and told not in places
        same = set(content.classes) <= set(classes) or target == "keypoints"
        if ready and fits and same and len({*used}) == len({split_of(other, is_file=True) for other in used}):
            places[told] = Ready(str(content.start), name)
    sizes = {image: size for content in used.values() for image, size in content.sizes.items()}
    return Found(target, FORMAT, tuple(used), values, classes, splits, places, sizes, tuple(notes))


def _classes(used: Mapping[str, Content]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for content in used.values() for name in content.classes))


def _notes(used: Mapping[str, Content]) -> list[str]:
    missing, dropped = (sum(getattr(c, key) for c in used.values()) for key in ("num_missing", "num_dropped"))
    crowds = sum(box.crowd for content in used.values() for boxes in content.boxes.values() for box in boxes)
    return [
        *([f"{missing:,} images that the json files list are not here"] if missing else []),
        *([f"{dropped:,} annotations without a usable box, class or image are left out"] if dropped else []),
        *([f"{crowds:,} crowd regions are not learnt from"] if crowds else []),
    ]


def _looks_right(listing: Listing, name: str) -> bool:
    """Whether a json file may be a COCO file, by its keys; those of other programs are passed over."""
    try:
        text = (listing.root / name).read_bytes()
    except OSError:
        return False
    return all(key in text for key in (b'"images"', b'"annotations"')) and PurePosixPath(name).name[:1] != "."
