"""Class folders: each image lies in a folder that is called as its class, below a folder for each split or none."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from fbnetv5.data.folders import class_order
from fbnetv5.onboarding.found import Found, Ready
from fbnetv5.onboarding.listing import GENERIC, Listing, below, split_of

FORMAT = "class folders"


def find_class_folders(listing: Listing) -> Found | None:
    """Return the class of each image, if all images lie in class folders."""
    tops = _tops(listing.images, ".")
    if not tops:
        return None
    values = {image: PurePosixPath(below(image, top)).parts[0] for top, images in tops.items() for image in images}
    classes = class_order(values.values())
    if len(classes) < 2 or any(name.lower() in GENERIC for name in classes):
        return None
    ready = {split_of(f"{top}/x"): Ready(top, top) for top in tops}
    if len(ready) < len(tops):
        ready = {}
    return Found("labels", FORMAT, tuple(tops), values, classes, ready=ready)


def _tops(images: tuple[str, ...], top: str) -> dict[str, list[str]]:
    """Return the images of each folder that holds class folders."""
    inside = [image for image in images if top == "." or image.startswith(f"{top}/")]
    folders = Counter(PurePosixPath(below(image, top)).parts[0] for image in inside if "/" in below(image, top))
    if not folders or sum(folders.values()) < len(inside):  # images that lie in no class folder
        return {}
    start = "" if top == "." else f"{top}/"
    if all(split_of(f"{name}/x") or name.lower() in GENERIC for name in folders):
        deeper = [_tops(images, start + name) for name in folders]
        return {key: value for entry in deeper for key, value in entry.items()} if all(deeper) else {}
    if len(folders) == 1 and any(below(image, start + next(iter(folders))).count("/") for image in inside):
        return _tops(images, start + next(iter(folders)))  # a folder around all
    return {top: inside}
