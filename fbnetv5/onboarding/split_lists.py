"""Lists of images by split: VOC's ImageSets, train.txt and val.txt beside other labels, and what data.yaml names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from fbnetv5.onboarding.claims import nearest
from fbnetv5.onboarding.found import text_of
from fbnetv5.onboarding.listing import GENERIC, SPLIT_WORDS, Claim, Listing, below, num_agreeing, split_of

BOTH = "trainval"  # a list of images of which those called train and val say more
NUMBER = re.compile(r"\s+-?\d+$")  # behind a name: a class, or whether one is there


def listed_splits(listing: Listing) -> dict[str, str]:
    """Return the split of each image that a txt file called train, val or valid, or test names."""
    stems = {name: PurePosixPath(name).stem.lower().rstrip("0123456789") for name in listing.with_suffix(".txt")}
    both = {name: "train" for name, stem in stems.items() if stem == BOTH}
    plain = {name: SPLIT_WORDS[stem] for name, stem in stems.items() if stem in SPLIT_WORDS}
    return _splits(listing, both) | _splits(listing, plain)


def named_splits(listing: Listing, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the split of each image in the folders and lists that YOLO's data.yaml names for its splits.

    A folder or list that it names for several splits says nothing.
    """
    folders = {str(folder) for image in listing.images for folder in PurePosixPath(image).parents} - {"."}
    places = {*folders, *listing.with_suffix(".txt")}
    told: dict[str, set[str]] = {}
    for word, split in SPLIT_WORDS.items():
        entries = settings.get(word)
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, str) and (place := _meant(entry, places)) is not None:
                told.setdefault(place, set()).add(split)
    named = {place: next(iter(splits)) for place, splits in told.items() if len(splits) == 1}
    splits: dict[str, str] = {}
    for folder in sorted(named.keys() & folders, key=len):  # the inner ones last
        inside = [image for image in listing.images if image.startswith(f"{folder}/")]
        splits |= {image: split_of(below(image, folder)) or named[folder] for image in inside}
    return splits | _splits(listing, {place: split for place, split in named.items() if place not in folders})


def _splits(listing: Listing, lists: Mapping[str, str]) -> dict[str, str]:
    """Return the split of each image that lists name, by the split of each list; of several, the nearest."""
    claims = {}
    for name in lists:
        for line in text_of(listing.root / name).splitlines():
            image = listing.image_of(line, name) or listing.image_of(NUMBER.sub("", line.rstrip()), name)
            if image is not None:
                claims[Claim(line, name)] = image
    return {image: lists[claim.near] for claim, image in nearest(claims).items()}


def _meant(entry: str, places: Iterable[str]) -> str | None:
    """Return the place that a path on any machine means: it ends alike, and not in words that any path may end in."""
    parts = [part for part in PurePosixPath(entry.replace("\\", "/")).parts if part not in ("/", "..")]
    found = []
    for place in places:
        own = PurePosixPath(place).parts
        count = num_agreeing(own, parts)
        if count and (count == min(len(own), len(parts)) or {*parts[-count:]} - GENERIC):
            found.append((-count, len(place), place))
    return min(found)[-1] if found else None
