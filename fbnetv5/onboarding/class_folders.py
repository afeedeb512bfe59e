"""Class folders: each image lies in a folder that is called as its class, below a folder for each split or none."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from fbnetv5.data.folders import class_order
from fbnetv5.onboarding.found import Found, Ready
from fbnetv5.onboarding.listing import GENERIC, SPLIT_WORDS, Listing, below, split_of
from fbnetv5.onboarding.split_lists import listed_splits

FORMAT = "class folders"
STRAYS = 20  # of so many images one may lie beside the class folders
FEW = 6  # of so many images, too


def find_class_folders(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return the class of each image, if nearly all images lie in class folders, and notes on folders not taken."""
    tops = _tops(listing.images, ".")
    if not tops:
        return [], _strays(listing.images)
    told = {top: split_of(f"{top}/x") for top in tops}
    values, splits, learnt, listed = {}, {}, set(), listed_splits(listing)
    for top, images in tops.items():
        for image in images:
            values[image] = PurePosixPath(below(image, top)).parts[0]
            named = split_of(image) != told[top]  # by a word in the name of a class, such as test tube
            if named and image not in listed:
                splits[image] = told[top] or "train"
        if told[top] in ("train", ""):
            learnt |= {values[image] for image in images}
    classes = class_order(values.values())
    if len(classes) < 2:
        return [], [f"all images lie in one folder, {classes[0]}: one class alone is nothing to tell apart"]
    if generic := [name for name in classes if name.lower() in GENERIC]:
        return [], [f"folders are not taken as classes, as {generic[0]} is no usual name of one: rename it if it is"]
    ready = {told[top]: Ready(top, top) for top in tops}
    if len(ready) < len(tops) or learnt != set(classes) or len(values) < len(listing.images):
        ready = {}
    left = sorted({PurePosixPath(image).parent.as_posix() for image in listing.images if image not in values} - {"."})
    notes = [f"{folder}: its images are in no folder of a class, and not taken" for folder in left]
    return [Found("labels", FORMAT, tuple(tops), values, classes, splits, ready)], notes


def _strays(images: tuple[str, ...]) -> list[str]:
    """Return a note on images beside folders that would be classes without them."""
    beside = [image for image in images if "/" not in image]
    inside = tuple(image for image in images if "/" in image)
    if not beside or len(beside) > len(inside) or len(_tops(inside, ".").get(".", ())) < len(inside):
        return []
    return [f"folders are not taken as classes, as {len(beside):,} images lie beside them, such as {beside[0]}"]


def _tops(images: tuple[str, ...], top: str) -> dict[str, list[str]]:
    """Return the images of each folder that holds class folders."""
    every = [image for image in images if top == "." or image.startswith(f"{top}/")]
    inside = [image for image in every if "/" in below(image, top)]
    folders = Counter(PurePosixPath(below(image, top)).parts[0] for image in inside)
    beside = len(every) - len(inside)
    if not folders or (STRAYS * beside > len(every) and not (beside == 1 and len(every) >= FEW)):
        return {}
    start = "" if top == "." else f"{top}/"
    if all(split_of(f"{name}/x") or name.lower() in GENERIC for name in folders):
        deeper = {name: _tops(images, start + name) for name in folders}
        if not all(found or split_of(f"{name}/x") == "test" for name, found in deeper.items()):
            return {}
        return {key: value for entry in deeper.values() for key, value in entry.items()}
    if len(folders) == 1 and any(below(image, start + next(iter(folders))).count("/") for image in inside):
        return _tops(images, start + next(iter(folders)))  # a folder around all
    aside = [name for name in folders if SPLIT_WORDS.get(name.lower()) in ("val", "test")]  # beside classes, is none
    own = [image for image in inside if PurePosixPath(below(image, top)).parts[0] not in aside]
    return {top: own} | {key: value for name in aside for key, value in _tops(images, start + name).items()}
