"""COCO json files: boxes, instance masks as polygons or run lengths, crowds, and keypoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco_file import CocoFile, box_of, is_number, key_of, read_coco_file, told_size
from fbnetv5.data.index_checks import BORDER_TOLERANCE
from fbnetv5.data.keypoints import can_mirror, parse_points
from fbnetv5.onboarding.claims import claims_of, left_out_notes, nearest, shared_out, sharing_notes, told_splits
from fbnetv5.onboarding.found import Box, Found, Painting, Ready, Region, without_masks
from fbnetv5.onboarding.listing import Claim, Listing, common_start, split_of

FORMAT = "COCO json"
T = TypeVar("T")
SPARSE = 0.3  # share of listed images without annotations from which on they are taken as unlabelled, not as empty


@dataclass
class Content:
    """What a file says of the images that exist, by image: all but what this program cannot take.

    Attributes:
        classes: names of the categories, by id.
        claims: the image of each name that the file lists.
        regions: outlines, with the areas of their boxes.
        has_outlines: whether any outline is more than its box again.
        start: the folder that the names of images start from.
        is_clean: whether nothing had to be changed or left out.
    """

    classes: tuple[str, ...]
    claims: dict[Claim, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    regions: dict[str, list[tuple[float, Region]]] = field(default_factory=dict)
    has_outlines: bool = False
    people: dict[str, list[Any]] = field(default_factory=dict)
    joints: tuple[str, ...] = ()
    start: str | None = None
    is_clean: bool = True
    num_missing: int = 0
    num_dropped: int = 0
    num_annotations: int = 0


def find_coco(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return what COCO files below a folder say, of boxes, masks and keypoints, and notes on the others."""
    contents: dict[str, Content] = {}
    notes, others = [], []
    for name in listing.with_suffix(".json"):
        if not _looks_right(listing, name):
            others.append(name)
            continue
        try:
            content = read_content(read_coco_file(listing.root / name), name, listing)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        if not content.boxes:
            notes.append(f"{name}: left out, as none of its images is here")
        elif not content.people and 0 < content.num_dropped == content.num_annotations:
            count = f"none of its {content.num_dropped:,} annotations"
            notes.append(f"{name}: left out, as {count} has a usable box, class and image")
        else:
            contents[name] = content
    if others:
        notes.append(
            f"{len(others):,} json files without COCO's images and annotations passed over, such as {others[0]}"
        )
    splits = _settle(contents)
    notes += listing.size_notes({image: size for one in contents.values() for image, size in one.sizes.items()})
    ordered = sorted(contents, key=lambda name: (bool(contents[name].joints), name))  # instances before people
    results = []
    for maker in (_boxes_found, _masks_found, _keypoints_found):
        found, said = maker({name: contents[name] for name in ordered}, splits)
        results += [found] if found else []
        notes += said
    used = {name for found in results for name in found.where}
    empty = [name for name in ordered if not contents[name].num_annotations and name not in used]
    notes += [f"{name}: left out, as it has no annotations" for name in empty]
    return results, [*notes, *left_out_notes(ordered, {*used, *empty})]


def _settle(contents: dict[str, Content]) -> dict[str, str]:
    """Leave each image to the files that are nearest to it, and return the splits that names of files tell."""
    claims = {claim: image for content in contents.values() for claim, image in content.claims.items()}
    held: dict[str, set[str]] = {name: set() for name in contents}
    for claim, image in nearest(claims, equals=True).items():
        held[claim.near].add(image)
    for name, content in contents.items():
        num_missing = content.num_missing + len(content.boxes) - len(held[name])
        contents[name] = replace(_part(content, held[name]), num_missing=num_missing)
    return told_splits(claims)


def _part(content: Content, images: Set[str]) -> Content:
    """Return what a file says of some of its images."""
    if len(images) == len(content.boxes):
        return content

    def part(values: dict[str, T]) -> dict[str, T]:
        return {image: value for image, value in values.items() if image in images}

    return replace(
        content,
        sizes=part(content.sizes),
        boxes=part(content.boxes),
        regions=part(content.regions),
        people=part(content.people),
        is_clean=False,
    )


def read_content(file: CocoFile, name: str, listing: Listing) -> Content:
    """Return what a file, ``name`` below the folder, says of the images of a folder.

    Raises:
        InputError: its categories are wrong.
    """
    classes, _ = file.labels()
    label_of = {entry["id"]: entry["name"] for entry in file.categories}
    joints = [entry for entry in file.categories if _are_names(entry.get("keypoints"))]
    content = Content(classes)
    if len(joints) == 1:
        content.joints = tuple(joints[0]["keypoints"])
    images = _images(file, name, listing, content)
    for where, entry in file.annotations():
        key, category = key_of(entry, "image_id"), key_of(entry, "category_id")
        image, label = images.get(key), label_of.get(category)
        content.num_annotations += 1
        if image is None or label is None:
            is_lost = image is not None or key not in file.images  # else its image is not here, which is counted
            content.is_clean, content.num_dropped = False, content.num_dropped + is_lost
            continue
        _add(content, image, label, entry, where)
        if content.joints and category == joints[0]["id"]:
            _add_person(content, image, entry, where)
    if not content.has_outlines:
        content.regions.clear()
    return content


def _images(file: CocoFile, name: str, listing: Listing, content: Content) -> dict[Any, str]:
    """Return the image of each id, among those that exist."""
    content.claims = claims_of(listing, (entry["file_name"] for entry in file.images.values()), name)
    found: dict[Any, str] = {}
    is_sound = True  # no size that is none, which a config would not take as it stands
    for key, entry in file.images.items():
        image = content.claims.get(Claim(entry["file_name"], name))
        if image is None:
            content.num_missing += 1
            continue
        found[key] = image
        content.boxes[image] = []
        told = told_size(entry)
        is_sound &= told is not None or (entry.get("width"), entry.get("height")) == (None, None)
        if (size := told or listing.size(image)) is not None:
            content.sizes[image] = size
    content.start = common_start({image: file.images[key]["file_name"] for key, image in found.items()})
    content.is_clean = is_sound and content.start is not None and not content.num_missing
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
        if outline := _outline(entry.get("segmentation")):
            content.regions.setdefault(image, []).append((width * height, Region(label, outline)))
            content.has_outlines |= not _is_box(outline, (x, y, width, height))
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


def _are_names(joints: Any) -> bool:
    """Whether a category's keypoints are names, each once."""
    is_text = isinstance(joints, list) and joints != [] and all(isinstance(name, str) and name for name in joints)
    return is_text and len(set(joints)) == len(joints)


def _outline(given: Any) -> Any:
    """Return the run lengths of an annotation's mask, or those of its polygons that have an area; None: neither."""
    if isinstance(given, dict):
        return given if {"counts", "size"} <= set(given) else None
    if not isinstance(given, list):
        return None
    parts = [part for part in given if isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0]
    return [part for part in parts if all(is_number(value) for value in part)]


def _is_box(outline: Any, box: tuple[float, float, float, float]) -> bool:
    """Whether an outline is a box again."""
    if isinstance(outline, dict) or len(outline) != 1 or len(outline[0]) not in (8, 10):
        return False
    x, y, width, height = box
    edges = (x, x + width), (y, y + height)
    return all(min(abs(value - edge) for edge in edges[k % 2]) <= 1 for k, value in enumerate(outline[0]))


def _shared(contents: Mapping[str, Content]) -> tuple[dict[str, Content], list[str]]:
    """Return what files say of the images that each is taken for, and notes on those that they share."""
    images = {name: set(content.boxes) for name, content in contents.items()}
    classes = {
        name: {box.label for boxes in content.boxes.values() for box in boxes} for name, content in contents.items()
    }
    taken = shared_out(images, classes)
    return {name: _part(contents[name], own) for name, own in taken.items()}, sharing_notes(images, taken)


def _boxes_found(contents: Mapping[str, Content], splits: Mapping[str, str]) -> tuple[Found | None, list[str]]:
    used, sharing = _shared({name: content for name, content in contents.items() if any(content.boxes.values())})
    values: dict[str, list[Box]] = {}
    for content in used.values():
        for image, boxes in content.boxes.items():
            values[image] = [*values.get(image, ()), *boxes]
    if not used:
        return None, []
    notes = [*_unlabelled(values), *_notes(used), *sharing]
    return _found("boxes", used, values, _classes(used), splits, notes), []


def _unlabelled(values: dict[str, list[Box]]) -> list[str]:
    """Take images without boxes out where there are many: they are unlabelled rather than empty."""
    empty = [image for image, boxes in values.items() if not boxes]
    if len(empty) <= SPARSE * len(values):
        return []
    for image in empty:
        del values[image]
    share = len(empty) / (len(empty) + len(values))
    return [f"{len(empty):,} images without boxes ({share:.0%}) are taken as unlabelled, not as empty"]


def _masks_found(contents: Mapping[str, Content], splits: Mapping[str, str]) -> tuple[Found | None, list[str]]:
    """Masks that are to be drawn of outlines, small ones above; pixels without one are background.

    So are images without annotations, unless there are so many that they are taken as unlabelled.
    """
    used, notes = _shared({name: content for name, content in contents.items() if content.regions})
    regions: dict[str, list[tuple[float, Region]]] = defaultdict(list)
    sizes: dict[str, tuple[int, int]] = {}
    lost = set()
    for content in used.values():
        sizes |= content.sizes
        for image, boxes in content.boxes.items():
            regions[image] += content.regions.get(image, ())
            own = [region for _, region in content.regions.get(image, ())]
            if len(own) < len(boxes) or image not in sizes or not all(_is_for(sizes[image], region) for region in own):
                lost.add(image)
    bare = [image for image, own in regions.items() if not own]
    left = {*lost, *(bare if len(bare) > SPARSE * len(regions) else ())}
    values = {
        image: Painting(sizes[image], tuple(region for _, region in sorted(own, key=lambda entry: -entry[0])))
        for image, own in regions.items()
        if image not in left
    }
    if lost:
        notes.append(without_masks(len(lost)))
    if not values:
        return None, notes
    classes = ("background", *(name for name in _classes(used) if name != "background"))
    drawn = "drawn of the outlines in the json files; crowds too; where outlines overlap, the smaller one is above"
    return _found("masks", used, values, classes, splits, [drawn, *notes], ready=False), []


def _is_for(size: tuple[int, int], region: Region) -> bool:
    """Whether an outline can be of an image of a (width, height): run lengths say of which they are."""
    return not isinstance(region.outline, dict) or region.outline["size"] == [*size[::-1]]


def _keypoints_found(contents: Mapping[str, Content], splits: Mapping[str, str]) -> tuple[Found | None, list[str]]:
    posed = {name: content for name, content in contents.items() if content.people}
    if not posed:
        return None, []
    joints = next(iter(posed.values())).joints
    used, notes = _shared({name: content for name, content in posed.items() if content.joints == joints})
    people = {image: people for content in used.values() for image, people in content.people.items()}
    values = {image: shown[0] for image, shown in people.items() if len(shown) == 1}
    num_crowded = len(people) - len(values)
    if num_crowded:
        notes.append(f"{num_crowded:,} images show several people and are left out; cut people out first, see docs")
    if not values:
        return None, notes
    if not can_mirror(joints):
        notes.append("names do not tell which keypoints are left and right: images are not mirrored in training")
    found = _found("keypoints", used, values, joints, splits, notes, ready=not num_crowded)
    return replace(found, can_mirror=can_mirror(joints)), []


def _found(
    target: str,
    used: Mapping[str, Content],
    values: Mapping[str, Any],
    classes: tuple[str, ...],
    splits: Mapping[str, str],
    notes: Sequence[str],
    *,
    ready: bool = True,
) -> Found:
    told = {name: split_of(name, is_file=True) for name in used}
    images = [image for content in used.values() for image in content.boxes]
    places: dict[str, Ready] = {}
    if ready and len({*told.values()}) == len(used) and len({*images}) == len(images):
        for name, content in used.items():
            learns = told[name] in ("train", "")  # of a split that is learnt from, the classes are all there are
            same = not learns or set(content.classes) == set(classes) or target == "keypoints"
            if content.is_clean and content.start is not None and same:
                places[told[name]] = Ready(content.start, name)
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
