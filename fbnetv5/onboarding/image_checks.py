"""Faults that are seen by opening every image and mask once."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, UndecodableImageError
from fbnetv5.data.images import image_header, read_depth, read_mask, read_stored
from fbnetv5.data.orientation import Extent, Frames, turned_size
from fbnetv5.data.tars import read_bytes
from fbnetv5.labeling.progress import LabelProgress
from fbnetv5.onboarding.findings import Findings
from fbnetv5.onboarding.split_labels import SplitLabels

THREADS = 2
TOLD_EVERY = 500  # images, at least, where there is no terminal
LINES = 10  # of progress there, at most
GRID = 8  # the perceptual hash compares each of 8x8 cells with the one at its right
PLAIN = 12  # bits that differ at least in a picture that the hash can tell from others: not a plain surface


@dataclass(frozen=True)
class Look:
    """What opening an image and its mask shows.

    Attributes:
        name: of the image.
        damage: why it cannot be read.
        orientation: its EXIF orientation.
        size_fault, map_fault: what a run would say of its size, and of its mask or depth map.
        content: a hash of the file's bytes.
        picture: a hash that pictures that look alike share; None for plain ones.
        values: of the mask, but for what is ignored.
    """

    name: str
    damage: str | None = None
    orientation: int = 1
    size_fault: str | None = None
    map_fault: str | None = None
    content: bytes = b""
    picture: int | None = None
    values: tuple[int, ...] = ()


def look_at_all(read: SplitLabels, frames: Frames) -> list[Look]:
    """Open every image of a split, telling how far it is."""
    names, looks = list(read.images), []
    progress = LabelProgress(shown=True, num_images=len(names), done=0, every=max(TOLD_EVERY, len(names) // LINES))
    with progress, ThreadPoolExecutor(THREADS) as pool:
        for look in pool.map(lambda name: look_at(name, read, frames), names):
            looks.append(look)
            if progress.due():
                progress.show(len(looks))
    return looks


def look_at(name: str, read: SplitLabels, frames: Frames) -> Look:
    """Open an image and its mask."""
    path = read.images[name]
    try:
        pixels, orientation = read_stored(path)
        content = hashlib.blake2b(read_bytes(path), digest_size=16).digest()
    except UndecodableImageError as error:
        return Look(name, damage=str(error))
    except (InputError, OSError) as error:
        return Look(name, damage=f"{path}: {error}")
    stored = (pixels.shape[2], pixels.shape[1])
    labelled = read.sizes.get(name) or _size_of_map(name, read)
    size = turned_size(stored, orientation) if frames.turns(orientation, stored, labelled) else stored
    size_fault = None
    if name in read.sizes and labelled is not None and labelled != size:
        size_fault = f"{name}: {labelled[0]}x{labelled[1]} in the labels, {size[0]}x{size[1]} in the file"
    fault, values = _look_at_maps(name, read, size)
    return Look(name, None, orientation, size_fault, fault, content, picture_hash(pixels), values)


def picture_hash(pixels: torch.Tensor) -> int | None:
    """Return 64 bits that say where a picture uint8 [3, H, W] gets brighter to the right; None for a plain one."""
    grey = pixels.float().mean(dim=0)[None, None]
    cells = F.interpolate(grey, size=(GRID, GRID + 1), mode="area")[0, 0]
    bits = (cells[:, 1:] > cells[:, :-1] + 1).flatten().tolist()
    if not PLAIN <= sum(bits) <= GRID * GRID - PLAIN:
        return None
    return sum(1 << place for place, bit in enumerate(bits) if bit)


def check_images(read: SplitLabels, looks: Sequence[Look], findings: Findings, *, undecodable: str) -> None:
    """Add what is wrong with the images of a split, and with their masks."""
    split = read.split
    damaged = [str(look.damage) for look in looks if look.damage]
    text = "damaged images" if undecodable == "error" else "damaged images, which are skipped"
    findings.add("damaged images", text, damaged, split=split, stops=undecodable == "error")
    sizes = [look.size_fault for look in looks if look.size_fault]
    findings.add("sizes", "images of another size than their labels", sizes, split=split, stops=True)
    maps = [look.map_fault for look in looks if look.map_fault]
    what = "depth maps" if not read.masks else "masks" if not read.depth_maps else "masks or depth maps"
    findings.add("masks", f"{what} that cannot be used", maps, split=split, stops=True)
    turned = [f"{look.name} ({look.orientation})" for look in looks if look.orientation != 1]
    findings.add("orientation", "images with an EXIF orientation (data.exif)", turned, split=split)
    twins = _groups({look.name: look.content for look in looks if look.content})
    inside = [f"{first} = {second}{f' and {len(more)} more' if more else ''}" for first, second, *more in twins]
    findings.add("duplicates", "images are there more than once", inside, split=split)


def mask_counts(read: SplitLabels, looks: Sequence[Look]) -> Counter[str]:
    """Return how many masks show each class."""
    names = read.classes["segmentation"]
    return Counter(names[value] for look in looks for value in look.values if value < len(names))


def check_across(train: Sequence[Look], val: Sequence[Look], findings: Findings) -> None:
    """Add images of the validation split that are training images too, or look just like one."""
    same = list(_pairs({look.content: look.name for look in train if look.content}, val, "content"))
    findings.add("duplicates across splits", "validation images are training images too", same)
    known = {look.content for look in train}
    exact = {look.name for look in val if look.content in known}
    others = [look for look in val if look.name not in exact]
    alike = list(_pairs({look.picture: look.name for look in train if look.picture is not None}, others, "picture"))
    findings.add("look-alikes across splits", "validation images look like training images", alike)


def _pairs(known: Mapping[object, str], looks: Sequence[Look], key: str) -> Iterator[str]:
    for look in looks:
        if getattr(look, key) in known:
            yield f"{look.name} = {known[getattr(look, key)]}"


def _groups(hashes: Mapping[str, bytes]) -> list[list[str]]:
    groups = defaultdict(list)
    for name, digest in hashes.items():
        groups[digest].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _size_of_map(name: str, read: SplitLabels) -> Extent | None:
    """Return the (width, height) of the mask or depth map of an image, which a run takes where labels say none."""
    file = read.masks.get(name) or read.depth_maps.get(name)
    header = None if file is None else image_header(file)
    return None if header is None else header[0]


def _look_at_maps(name: str, read: SplitLabels, size: Extent) -> tuple[str | None, tuple[int, ...]]:
    """Return what is wrong with the mask or the depth map of an image, and which classes the mask shows."""
    mask, depth_map = read.masks.get(name), read.depth_maps.get(name)
    try:
        if depth_map is not None:
            read_depth(depth_map, read.depth_scale, size)
        if mask is None:
            return None, ()
        pixels = read_mask(mask, len(read.classes["segmentation"]), size, read.code)
    except InputError as error:
        return str(error), ()
    return None, tuple(value for value in np.unique(pixels.numpy()).tolist() if value != IGNORE)
