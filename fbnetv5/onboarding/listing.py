"""The files below a folder, and which image a name in a file of labels means."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fbnetv5.data.folders import list_files
from fbnetv5.data.images import IMAGE_SUFFIXES, image_header
from fbnetv5.data.orientation import turned_size

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
GENERIC = {  # names of folders that tell images from labels, and nothing of an image
    *("image", "images", "img", "imgs", "photos", "jpegimages", "data", "label", "labels", "annotation", "annotations"),
    *("mask", "masks", "segmentationclass", "segmentation", "segmentations", "seg", "gt", "xml", "xmls", "txt"),
}
LABEL_SUFFIXES = (".txt", ".xml")  # of files that are called as their image
SIZES_READ = 10_000  # headers that sizes are taken from, evenly spaced: some seconds
KEPT_PATHS = 1 << 18  # whose folders are not taken apart again


class Claim(NamedTuple):
    """What means an image: a ``name`` in the file of labels ``near``, or that file's own."""

    name: str
    near: str


@dataclass(frozen=True)
class Listing:
    """The files below a folder.

    Attributes:
        root: the folder.
        files: all but hidden ones, sorted, relative to it.
        masks: those PNG files that are masks and no images.
    """

    root: Path
    files: tuple[str, ...]
    masks: frozenset[str] = frozenset()

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The images, sorted."""
        return tuple(name for name in self.files if name.lower().endswith(IMAGE_SUFFIXES) and name not in self.masks)

    @cached_property
    def _by_stem(self) -> Mapping[str, list[str]]:
        found = defaultdict(list)
        for image in self.images:
            found[PurePosixPath(composed(image)).stem.lower()].append(image)
        return found

    @cached_property
    def _by_folder(self) -> Mapping[tuple[str, str], list[str]]:
        """The images by their stem and the innermost folder that tells something."""
        found = defaultdict(list)
        for stem, images in self._by_stem.items():
            for image in images:
                found[stem, (_essential(image) or ("",))[-1]].append(image)
        return found

    def with_suffix(self, *suffixes: str) -> list[str]:
        """Return the files whose name ends in one of ``suffixes``, in any case."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    def called(self, names: Sequence[str], near: str) -> list[str]:
        """Return the files that are called so, in any case: in the order of ``names``, of one name the nearest first.

        Args:
            names: whole names, in small letters.
            near: the folder that they are for.
        """
        found = {name: PurePosixPath(name).name.lower() for name in self.with_suffix(*names)}
        places = [name for name, last in found.items() if last in names]
        return sorted(places, key=lambda name: (names.index(found[name]), -num_shared(name, near), name.count("/")))

    def named(self, stem: str) -> list[str]:
        """Return the images whose file is called so, without its suffix, in any case."""
        return self._by_stem.get(composed(stem).lower(), [])

    def image_of(self, name: str, near: str) -> str | None:
        """Return the image that a name means, None where there is no such image.

        Of several images of that name, none is meant if the folders say another one, which is not here.

        Args:
            name: as a file of labels has it, relative to any folder or absolute on another machine, with or without a
                suffix; or that file's own.
            near: the file of labels; of several images, those of its split come first, then those near it.
        """
        path, claim = _plain(name), Claim(name, near)
        is_whole = path.suffix.lower() not in (*IMAGE_SUFFIXES, *LABEL_SUFFIXES)
        stem, folders = (path.name if is_whole else path.stem).lower(), _essential(str(path))
        candidates = _called(self._by_folder.get((stem, folders[-1]), []), path) if folders else []
        candidates = candidates or _called(self.named(stem), path)
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        best = min(candidates, key=lambda image: distance(image, claim))
        return None if _is_elsewhere(best, claim) else best

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """The (width, height) of images, upright, from their headers; of 10,000 at most, without damaged ones."""
        count = min(len(self.images), SIZES_READ)
        chosen = [self.images[len(self.images) * k // count] for k in range(count)]
        return {name: size for name in chosen if (size := read_size(self.root / name)) is not None}

    def size(self, image: str) -> tuple[int, int] | None:
        """Return the (width, height) of an image, upright; None if it cannot be read."""
        return self.sizes.get(image) or read_size(self.root / image)

    def size_notes(self, told: Mapping[str, tuple[int, int]]) -> list[str]:
        """Return a line on images that have neither the size that labels are for, as ``told``, nor its reverse."""
        pairs = ((image, size, told[image]) for image, size in self.sizes.items() if image in told)
        wrong = [f"{image}: {w}x{h}, not {size[0]}x{size[1]}" for image, (w, h), size in pairs if {w, h} != {*size}]
        more = " or more" if len(self.sizes) < len(self.images) else ""
        return [f"{len(wrong):,}{more} images have another size than their labels say: {wrong[0]}"] if wrong else []


def distance(image: str, claim: Claim) -> tuple[int, bool, bool, int, int, int, str]:
    """What orders the images that a claim may mean, and the claims of an image; the least is meant.

    The first two say how many folders agree, and whether the splits contradict each other. Of images that are equally
    near, those in ``images`` come before those in a folder of another name, such as ``vis`` or ``raw``.
    """
    name, folders = str(_plain(claim.name)), _essential(image)
    agreeing = num_agreeing(folders, _essential(name))
    split, told = split_of(name) or split_of(claim.near, is_file=True), split_of(image)
    shared = num_agreeing(_folders(image)[::-1], _folders(claim.near)[::-1])
    contradicts = bool(split) and told != split
    return -agreeing, contradicts and bool(told), contradicts, -shared, len(folders), len(image), image


def list_folder(root: Path) -> Listing:
    """Return the files below a folder, but those whose names are no UTF-8. Raises InputError if it cannot be listed."""
    return Listing(root, tuple(name for name in list_files(root, ("",)) if _is_text(name)))


def read_size(path: Path) -> tuple[int, int] | None:
    """Return the (width, height) of an image as a person sees it; None if its header cannot be read."""
    header = image_header(path)
    return None if header is None else turned_size(*header)


@lru_cache(KEPT_PATHS)
def split_of(path: str, *, is_file: bool = False) -> str:
    """Return train, val or test, as the folders of a path say (of a file of labels, its name too), or nothing."""
    parts = PurePosixPath(path).parts
    for part in parts if is_file else parts[:-1]:  # from outside: a class may be called train
        words = [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", part.lower())]
        told = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
        if len(told) == 1:
            return told.pop()
    return ""


def common_start(names: Mapping[str, str]) -> str | None:
    """Return the folder that all images lie in under their names, for image -> name; None: there is no such folder."""
    starts = Counter(
        image[: -len(name)] if image.endswith(name) and image[: -len(name)][-1:] in ("", "/") else None
        for image, name in names.items()
    )
    if len(starts) != 1 or (start := next(iter(starts))) is None:
        return None
    return start.rstrip("/") or "."


def common_folder(images: Iterable[str]) -> str:
    """Return the deepest folder that all images lie in."""
    parts = [PurePosixPath(image).parent.parts for image in images]
    depth = 0
    while all(len(part) > depth for part in parts) and len({part[: depth + 1] for part in parts}) == 1:
        depth += 1
    return str(PurePosixPath(*parts[0][:depth])) if parts and depth else "."


def num_agreeing(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many parts at their ends two paths share."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((k for k, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def num_shared(file: str, folder: str) -> int:
    """Return how many folders, from the outside, a file and a folder share."""
    return len(PurePosixPath(common_folder([file, f"{folder}/x"])).parts)


def composed(name: str) -> str:
    """Return a name with its accents as one character each, as most programs write it and Macs' files do not (NFC)."""
    return unicodedata.normalize("NFC", name)


def below(path: str, folder: str) -> str:
    """Return a path relative to a folder that it lies in."""
    return path if folder == "." else path[len(folder) + 1 :]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _called(images: list[str], path: PurePosixPath) -> list[str]:
    """Return those of some images that have the suffix of a path, if it is one of an image's, in its own case first."""
    own = {image: PurePosixPath(composed(image)) for image in images}
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return [image for image in images if own[image].stem in (path.stem, path.name)] or images
    same = [image for image in images if own[image].name == path.name]
    return same or [image for image in images if own[image].name.lower() == path.name.lower()]


def _is_elsewhere(image: str, claim: Claim) -> bool:
    """Whether what is claimed lies in another folder than an image, by all that the folders of both tell."""
    own, other = (
        [part for part in parts if not split_of(f"{part}/x")]
        for parts in (_essential(image), _essential(str(_plain(claim.name))))
    )
    if not own or not other or num_agreeing(own, other):
        return False
    around = {*other, *(part.lower() for part in _folders(claim.near))}
    return own[-1] not in around and other[-1] not in own


@lru_cache(KEPT_PATHS)
def _folders(path: str) -> tuple[str, ...]:
    return PurePosixPath(path).parts[:-1]


@lru_cache(KEPT_PATHS)
def _essential(path: str) -> tuple[str, ...]:
    """Return the folders of a path that tell something of an image, in small letters."""
    return tuple(part.lower() for part in _folders(composed(path)) if part.lower() not in GENERIC)


@lru_cache(KEPT_PATHS)
def _plain(name: str) -> PurePosixPath:
    return PurePosixPath(composed(name).strip().replace("\\", "/").lstrip("/"))
