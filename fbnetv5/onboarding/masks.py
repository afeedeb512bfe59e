"""Folders of PNG masks, grey, with a palette or in known colours: which they are, whose, and which values they hold."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from fbnetv5.base.types import IGNORE
from fbnetv5.data.folders import MASK_SUFFIX
from fbnetv5.data.images import DECODER_ERRORS
from fbnetv5.data.mask_codes import colour_text
from fbnetv5.onboarding.claims import nearest
from fbnetv5.onboarding.found import Found, MaskFile, Ready, text_of
from fbnetv5.onboarding.listing import Claim, Listing, common_folder, split_of
from fbnetv5.onboarding.mask_colours import MODES, ONE_GREY, Colours, colours_of
from fbnetv5.onboarding.voc import CLASSES as VOC_CLASSES

FORMAT = "mask folder"
NO_MASKS = (".jpg", ".jpeg", ".webp", ".bmp")  # the first three may change the values of pixels
WORDS = {"mask", "masks", "seg", "segmentation", "segmentations", "segmentationclass", "annotation", "annotations"}
WORDS |= {"gt", "label", "labels", "labelids", "trainids", "semantic", "trimaps"}
IMAGE_WORDS = {"image", "images", "img", "imgs", "photos", "jpegimages"}
OTHER = re.compile(r"segmentationobject|instance|depth|panoptic|(?<![a-z])disp(arity)?(?![a-z])")  # no class masks
ENDING = re.compile(r"[-_ ](mask|masks|seg|segmentation|gt|label|labels|labelids|trainids|l)$", re.IGNORECASE)
BESIDE = re.compile(ENDING.pattern[:-1] + r"([-_ ]?\d+)?$", re.IGNORECASE)  # of several masks of one image, too
NAME_FILES = ("mask_classes.txt", "classes.txt", "class_names.txt", "label_names.txt", "labels.txt", "labelmap.txt")
NAME_LISTS = ("mask_classes.json", "classes.json", "labels.json")
GREY = ("1", "L", "P")
PHOTOS = {"RGB", "RGBA"}
DEEP = ("I", "F")  # modes of 16 bits and more
PROBED = 8  # masks of a folder whose header is looked at
PARTNERS = 4  # images of the same name that are looked at, of each
SAMPLED = 200  # masks whose values are read
MADE_UP = "made up; write yours into mask_classes.txt in the folder, a line each, and start again with --overwrite"
Meaning = tuple[int, tuple[int, ...] | None, list[str]]  # number of classes, what values become, notes
DENSE = 2  # ids are as they stand while the largest is below this many times their number
SOFT = 100  # values between 0 and 255, at least, of masks whose edges are soft
SOFT_SHARE = 0.8  # of the pixels of these, at least, that are 0 or 255


def mask_files(listing: Listing) -> tuple[dict[str, list[str]], dict[str, Colours], list[str]]:
    """Return the masks of each folder that holds class masks, what their colours mean, and notes on those left out.

    A folder of files that are neither images nor masks that can be read has ``!`` before its name.
    """
    folders = _by_folder(listing.with_suffix(MASK_SUFFIX))
    found: dict[str, list[str]] = {}
    coloured: dict[str, Colours] = {}
    notes = []
    for folder, files in folders.items():
        named, is_other = _is_named(folder), _is_other(folder)
        modes = {_mode(listing.root / name) for name in files[:: max(1, len(files) // PROBED)]}
        if (named or is_other) and modes <= PHOTOS and not _has_partners(listing, folder, files):
            continue  # a class is called so
        if is_other:
            notes.append(f"{folder}: {len(files):,} PNG files left out, as they are no masks of classes by its name")
            found[f"!{folder}"] = files
            continue
        if not (named or _mirror(listing, folder, files)):
            if beside := _beside_photos(listing, folder, files):
                found[folder] = beside
            continue
        if any(mode is not None and mode.startswith(DEEP) for mode in modes):
            notes.append(f"{folder}: {len(files):,} PNG files of 16 bits left out: are they depth maps?")
            found[f"!{folder}"] = files
        elif modes <= {*GREY, None}:
            found[folder] = files
        elif named and modes - {*MODES, *GREY, None}:
            notes.append(f"{folder}: {len(files):,} PNG files left out: {', '.join(sorted(map(str, modes)))}, not grey")
            found[f"!{folder}"] = files
        elif named:
            colours = colours_of(listing, folder, files)
            if isinstance(colours, Colours):
                found[folder], coloured[folder] = files, colours
            else:
                notes.append(f"{folder}: {len(files):,} masks in colours (RGB) left out: {colours}")
                found[f"!{folder}"] = files
    for folder, files in _by_folder(listing.with_suffix(*NO_MASKS)).items():
        if _is_named(folder) and _mirror(listing, folder, files):
            kind = PurePosixPath(files[0]).suffix.lower()
            notes.append(f"{folder}: {len(files):,} {kind} files left out: masks are PNG, since JPEG changes ids")
            found[f"!{folder}"] = files
    return found, coloured, notes


def _by_folder(names: Sequence[str]) -> dict[str, list[str]]:
    """Return files by the folder that they lie in."""
    folders = defaultdict(list)
    for name in names:
        folders[str(PurePosixPath(name).parent)].append(name)
    return dict(folders)


def find_masks_of(
    listing: Listing,
    folders: Mapping[str, Sequence[str]],
    coloured: Mapping[str, Colours],
    box_classes: Sequence[str],
) -> tuple[Found | None, list[str]]:
    """Return the masks of images, in colours where there are no others; and notes.

    Args:
        listing: without the masks among its images.
        folders: the masks of each folder.
        coloured: what the colours of folders mean.
        box_classes: names of other labels, by which VOC's are known.
    """
    owners, left = _owners(listing, {name: files for name, files in folders.items() if name not in coloured})
    extra, others_left = _owners(listing, {name: folders[name] for name in coloured})
    if owners:
        notes = [f"{name}: masks in colours left out, as there are others" for name in coloured if extra]
        return _grey_masks(listing, owners, left, box_classes), notes
    return (_coloured_masks(listing, extra, others_left, coloured, box_classes) if extra else None), []


def _owners(listing: Listing, folders: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """Return the mask of each image, and notes on masks that are left out."""
    masks = [name for folder, files in folders.items() if not folder.startswith("!") for name in files]
    claims = {}
    for name in masks:
        stem = str(PurePosixPath(name).with_suffix(""))
        image = listing.image_of(stem, name) or listing.image_of(ENDING.sub("", stem), name)
        if image is not None:
            claims[Claim(name, name)] = image
    owners = {image: claim.name for claim, image in nearest(claims).items()}
    claiming, notes = {claim.name for claim in claims}, []
    if orphans := sorted({*masks} - claiming):
        notes.append(f"{len(orphans):,} masks without an image of their own, such as {orphans[0]}")
    if rivals := sorted(claiming - {*owners.values()}):
        shown = f"{len(rivals):,} masks left out, as another one is of their image, such as {rivals[0]}"
        notes.append(f"{shown}: the mask of an image holds all classes")
    return owners, notes


def _coloured_masks(
    listing: Listing,
    owners: Mapping[str, str],
    left: Sequence[str],
    coloured: Mapping[str, Colours],
    box_classes: Sequence[str],
) -> Found | None:
    """Return masks in colours, with notes on those ``left`` out; the classes are those of the first folder."""
    colours = next(iter(coloured.values()))
    places = tuple(sorted({str(PurePosixPath(mask).parent) for mask in owners.values()}))
    same = [other for other in coloured.values() if other.classes == colours.classes]
    classes, notes = colours.classes, list(dict.fromkeys(other.note for other in same))
    ids = {colour: number for other in same for colour, number in other.ids.items()}
    if colours.values:
        seen = dict.fromkeys((value for other in coloured.values() for value in other.values), 1)
        values, (count, table, said) = _meaning_of_all(seen, listing.root, [*owners.values()])
        classes, how = _names(listing, count, places, box_classes)
        greys = range(256) if table is None else sorted(values)
        ids = {value * ONE_GREY: value if table is None else table[value] for value in greys}
        notes += [*said, f"class names: {how}"]
    notes += left
    masks = {image: MaskFile(mask, colours=ids) for image, mask in sorted(owners.items())}
    shown = {colour_text(colour): number for colour, number in ids.items() if number < len(classes) or number == IGNORE}
    return Found("masks", FORMAT, places, masks, classes, ready=_ready(owners), mask_values=shown, notes=tuple(notes))


def _grey_masks(listing: Listing, owners: Mapping[str, str], left: Sequence[str], box_classes: Sequence[str]) -> Found:
    """Return grey masks, with notes on those ``left`` out."""
    masks = [*owners.values()]
    chosen = masks[:: -(-len(masks) // SAMPLED)]
    _, (ids, table, notes) = _meaning_of_all(_values(listing.root, chosen), listing.root, masks)
    places = tuple(sorted({str(PurePosixPath(mask).parent) for mask in owners.values()}))
    classes, how = _names(listing, ids, places, box_classes)
    if table is None and len(chosen) < len(masks):
        notes.append(f"values seen in {len(chosen)} of {len(masks):,} masks: fbnetv5 check reads all")
    notes.append(f"class names: {how}")
    notes += left
    files = {image: MaskFile(mask, table) for image, mask in sorted(owners.items())}
    ready = {} if table else _ready(owners)
    return Found("masks", FORMAT, places, files, classes, ready=ready, notes=tuple(notes))


def _ready(owners: Mapping[str, str]) -> dict[str, Ready]:
    """Return, by split, the folders of images and of masks, if a mask has the path of its image in them."""
    by_split: dict[str, dict[str, str]] = defaultdict(dict)
    for image, mask in owners.items():
        by_split[split_of(image) or split_of(mask)][image] = mask
    ready = {}
    for split, pairs in by_split.items():
        images, masks = common_folder(pairs), common_folder(pairs.values())
        if any(_inner(image, images) != _inner(mask, masks) for image, mask in pairs.items()):
            return {}
        ready[split] = Ready(images, masks)
    return ready


def _inner(path: str, folder: str) -> PurePosixPath:
    return PurePosixPath(path).relative_to(folder).with_suffix("")


def _is_named(folder: str) -> bool:
    """Whether the name of a folder, or of one around it, says that it holds masks, and none below says images."""
    for part in reversed(PurePosixPath(folder.lower()).parts):
        words = set(re.split(r"[^a-z]+", part))
        if words & (WORDS | IMAGE_WORDS):
            return not words & IMAGE_WORDS
    return False


def _is_other(folder: str) -> bool:
    """Whether the name of a folder, or of one around it, says something but masks, and none below says images."""
    for part in reversed(PurePosixPath(folder.lower()).parts):
        if set(re.split(r"[^a-z]+", part)) & IMAGE_WORDS:
            return False
        if OTHER.search(part):
            return True
    return False


def _has_partners(listing: Listing, folder: str, files: Sequence[str]) -> bool:
    """Whether some files have the names of images in folders that hold no masks by their names."""
    return any(
        not _is_beside_or_named(image, folder)
        for name in files[:: max(1, len(files) // PROBED)]
        for stem in (PurePosixPath(name).stem, ENDING.sub("", PurePosixPath(name).stem))
        for image in listing.named(stem)
    )


def _beside_photos(listing: Listing, folder: str, files: Sequence[str]) -> list[str]:
    """Return the files that are called as an image in the same folder, with a mask's ending; none if in colour."""
    stems = {name: (PurePosixPath(name).stem, BESIDE.sub("", PurePosixPath(name).stem)) for name in files}
    beside = [
        name
        for name, (whole, stem) in stems.items()
        if stem != whole and any(str(PurePosixPath(image).parent) == folder for image in listing.named(stem))
    ]
    modes = {_mode(listing.root / name) for name in beside[:: max(1, len(beside) // PROBED)]}
    return beside if modes <= {*GREY, None} else []


def _mirror(listing: Listing, folder: str, files: Sequence[str]) -> bool:
    """Whether files have the names of images in other folders, which are in colour."""
    probed = files[:: max(1, len(files) // PROBED)]
    others = 0
    for name in probed:
        stem = ENDING.sub("", PurePosixPath(name).stem)
        partners = [image for image in listing.named(stem) if not _is_beside_or_named(image, folder)]
        partners.sort(key=lambda image: image.lower().endswith(MASK_SUFFIX))  # photos are JPEG, as a rule
        others += any(_mode(listing.root / image) not in GREY for image in partners[:PARTNERS])
    return others > len(probed) / 2


def _is_beside_or_named(image: str, folder: str) -> bool:
    """Whether an image lies in a folder, or in one that holds masks by its name."""
    place = str(PurePosixPath(image).parent)
    return place == folder or _is_named(place)


def _mode(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.mode
    except DECODER_ERRORS:
        return None


def _values(root: Path, masks: Sequence[str]) -> Counter[int]:
    """Return how many pixels of masks have each value; of those in colours, the greys."""
    values: Counter[int] = Counter()
    for name in masks:
        try:
            with Image.open(root / name) as image:
                pixels = np.asarray(image)
        except DECODER_ERRORS:  # check names it
            continue
        found = np.unique(pixels if pixels.ndim == 2 else pixels[..., :3], return_counts=True)
        values.update(dict(zip(*(array.tolist() for array in found), strict=True)))
    return values


def _meaning_of_all(seen: Mapping[int, int], root: Path, masks: Sequence[str]) -> tuple[Mapping[int, int], Meaning]:
    """Return values and what they mean: of some masks, or of all where these are to be written anew for it.

    Args:
        seen: how many pixels of some masks have each value.
        root: the folder of the masks.
        masks: all of them.
    """
    values = seen if _meaning(seen)[1] is None else _values(root, masks)
    return values, _meaning(values)


def _meaning(values: Mapping[int, int]) -> Meaning:
    """Return the number of classes, what values become where they are no class ids, and notes."""
    ids = sorted({*values} - {IGNORE})
    ends = values.get(0, 0) + values.get(IGNORE, 0)
    if len(ids) > SOFT and ends >= SOFT_SHARE * sum(values.values()):
        return 2, (*[0] * 128, *[1] * 128), ["0 to 127 are taken as background, 128 to 255 as foreground: soft edges"]
    if ids == [0] and IGNORE in values:
        return 2, (0, *[1] * 255), ["0 and 255 are taken as background and foreground"]
    if not ids or ids[-1] < DENSE * len(ids) or ids[-1] < 32:
        return (ids[-1] if ids else 0) + 1, None, [f"{IGNORE} is ignored"] if IGNORE in values else []
    ordered = sorted(values)
    table = [IGNORE] * 256
    for number, value in enumerate(ordered):
        table[value] = number
    return len(ordered), tuple(table), [f"values {', '.join(map(str, ordered))} become 0 to {len(ordered) - 1}"]


def _names(
    listing: Listing, count: int, places: Sequence[str], box_classes: Sequence[str]
) -> tuple[tuple[str, ...], str]:
    """Return the names of ``count`` classes, and where they come from.

    A list of the classes of boxes lacks the background, unless it lies there for the masks.
    """
    near = common_folder(f"{place}/x" for place in places)
    for name in listing.called(NAME_FILES, near):
        text = text_of(listing.root / name)
        lines = [re.sub(r"^\d+[\s:,]+|:.*$", "", line.strip()) for line in text.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("#")]
        of_boxes = {*box_classes} >= {*lines} and PurePosixPath(name).name.lower() != NAME_FILES[0]
        if len(lines) >= count > 1 and len(set(lines)) == len(lines) and not of_boxes:
            return tuple(lines), name
        if len(lines) == count - 1 and "background" not in lines:
            return ("background", *lines), name
    for name in listing.called(NAME_LISTS, near):
        try:
            listed = json.loads((listing.root / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(listed, list) and len(listed) >= count and all(isinstance(entry, str) for entry in listed):
            return tuple(listed), name
    is_voc = any(place.lower().endswith("segmentationclass") for place in places)
    if is_voc and count <= len(VOC_CLASSES) + 1 and box_classes and set(box_classes) <= set(VOC_CLASSES):
        return ("background", *VOC_CLASSES), "those of VOC"
    if count == 2:
        return ("background", "foreground"), MADE_UP
    return ("background", *(f"class_{number}" for number in range(1, count))), MADE_UP
