"""Looks at a folder: what is labelled for which task, in which split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fbnetv5.base.errors import InputError
from fbnetv5.data.images import IMAGE_SUFFIXES
from fbnetv5.onboarding.class_folders import find_class_folders
from fbnetv5.onboarding.coco import find_coco
from fbnetv5.onboarding.csv_labels import find_csv
from fbnetv5.onboarding.found import TARGETS, Found
from fbnetv5.onboarding.listing import Listing, list_folder, split_of
from fbnetv5.onboarding.masks import find_masks_of, mask_files
from fbnetv5.onboarding.split_lists import listed_splits
from fbnetv5.onboarding.voc import find_voc
from fbnetv5.onboarding.yolo import find_yolo

LOOKED_FOR = (
    "COCO json, YOLO txt, Pascal VOC xml, folders of PNG masks named as the images, class folders, csv files with "
    "file_name and label, or with image, xmin, ymin, xmax, ymax, class"
)
VAL_PARTS = 5  # one in so many images is split off for validation, where there is no validation split
READ_SUFFIXES = (*IMAGE_SUFFIXES, ".json", ".xml", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".names")


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        listing: its files; masks are not among the images.
        found: the labels by target, one format each.
        train, val, test: images that are labelled for anything, sorted.
        split_off: by target, how many images validate that were split off, as it had no validation split.
        notes: what a person should know, a line each.
    """

    listing: Listing
    found: Mapping[str, Found]
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    split_off: Mapping[str, int]
    notes: tuple[str, ...]


def survey(root: Path) -> Survey:
    """Look at a folder.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    listing = list_folder(root)
    folders, coloured, notes = mask_files(listing)
    masks = frozenset(name for files in folders.values() for name in files)
    listing = replace(listing, masks=masks)
    if not listing.images:
        seen = "".join(f"; {note}" for note in [*notes, *_other_files(listing)])
        raise InputError(
            f"{root}: no images here ({', '.join(IMAGE_SUFFIXES)}){seen}; fbnetv5 init looks for images and for "
            f"{LOOKED_FOR}"
        )
    everything: list[Found] = []
    for find in (find_coco, find_yolo, find_voc, find_csv):
        found, said = find(listing)
        everything += found
        notes += said
    names = next((found.classes for found in everything if found.target == "boxes"), ())
    masks_found, said = find_masks_of(listing, folders, coloured, names)
    everything = [*([masks_found] if masks_found else []), *everything]
    notes += said
    folder_classes, said = find_class_folders(listing)
    if not everything:
        everything += folder_classes
        notes += said
    elif folder_classes:
        notes.append("folders of images are not taken as classes, as there are other labels")
    chosen, said = _choose(everything)
    return _with_splits(listing, chosen, [*notes, *said, *_other_files(listing)])


def _choose(everything: Iterable[Found]) -> tuple[dict[str, Found], list[str]]:
    """Return the first format of each target, and notes on the others."""
    chosen: dict[str, Found] = {}
    notes = []
    for found in everything:
        if found.target == "keypoints" and len(found.classes) == 1:
            notes.append(f"{found.format}: one keypoint left out: it has no extent, by which errors are measured (PCK)")
        elif found.target in chosen:
            other = chosen[found.target].format
            notes.append(f"{found.format}: {found.target} left out, as they are there as {other} too")
        elif found.values:
            chosen[found.target] = found
    return {target: chosen[target] for target in TARGETS if target in chosen}, notes


def _with_splits(listing: Listing, chosen: Mapping[str, Found], notes: list[str]) -> Survey:
    """Share the labelled images among training, validation and test."""
    told: dict[str, str] = listed_splits(listing)
    for found in chosen.values():
        told |= found.splits
    labelled = sorted({image for found in chosen.values() for image in found.values})
    split = {image: told.get(image) or split_of(image) or "train" for image in labelled}
    if labelled and "train" not in split.values():
        split = {image: "train" if part == "test" else part for image, part in split.items()}
    if labelled and "train" not in split.values():
        split = dict.fromkeys(labelled, "train")
    told_val = {image for image, part in split.items() if part == "val"}
    val, split_off = set(told_val), {}
    for target, found in chosen.items():
        if any(_says_something(found, image) for image in found.values if image in told_val):
            continue
        own = [image for image in found.values if split[image] == "train"]
        part = held_out(own)
        if not any(_says_something(found, image) for image in part):
            part |= held_out(image for image in own if _says_something(found, image))
        split_off[target] = len(part)
        val |= part
    train = tuple(image for image in labelled if split[image] == "train" and image not in val)
    test = tuple(image for image in labelled if split[image] == "test" and image not in val)
    if test:
        notes.append(f"test split: {len(test):,} images; no run uses them")
    return Survey(listing, chosen, train, tuple(sorted(val)), test, split_off, tuple(notes))


def _says_something(found: Found, image: str) -> bool:
    return found.target != "boxes" or bool(found.values[image])


def held_out(images: Iterable[str]) -> set[str]:
    """Return one in five images, by a hash of their names: the same ones whatever others come or go; at least one."""
    ranked = {image: hashlib.sha256(image.encode("utf-8", "surrogateescape")).digest() for image in images}
    chosen = {image for image, digest in ranked.items() if digest[0] % VAL_PARTS == 0}
    if not chosen and len(ranked) > 1:
        chosen = {min(ranked, key=ranked.__getitem__)}
    return chosen if len(chosen) < len(ranked) else set()


def _other_files(listing: Listing) -> list[str]:
    """Return a line on files that nothing here reads."""
    suffixes = Counter(
        PurePosixPath(name).suffix.lower() or "without suffix"
        for name in listing.files
        if not name.lower().endswith(READ_SUFFIXES)
    )
    if not suffixes:
        return []
    shown = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(4))
    return [f"files of other types, passed over: {shown}{' ...' if len(suffixes) > 4 else ''}"]
