"""Writes masks: outlines are drawn, and those of files that hold other values or colours become class ids."""

from __future__ import annotations

import math
import multiprocessing
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.data.images import DECODER_ERRORS
from fbnetv5.data.mask_codes import MaskCode
from fbnetv5.onboarding.found import Found, MaskFile, Painting
from fbnetv5.onboarding.listing import Listing
from fbnetv5.report.colours import class_colours, palette

WORKERS = 2
CHUNK = 50  # masks that a worker writes at a time
FEW = 500  # masks, which are not worth another process
Tell = Callable[[str, int, int], None]  # what, done, of
Mask = MaskFile | Painting


def write_masks(listing: Listing, found: Found, names: Mapping[str, str], folder: Path, tell: Tell) -> None:
    """Write masks of class ids, with a palette to look at them, under ``names`` below a folder.

    Raises:
        InputError: a mask cannot be read.
    """
    ids = {label: number for number, label in enumerate(found.classes)}
    for parent in {(folder / name).parent for name in names.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    rows = [(found.values[image], folder / name) for image, name in names.items()]
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    write = partial(write_chunk, listing.root, ids, palette(class_colours(len(found.classes))))
    with _workers(len(rows)) as pool:
        for number, count in enumerate(pool.map(write, chunks)):
            for done in range(number * CHUNK + 1, number * CHUNK + count + 1):
                tell("masks", done, len(rows))


def write_chunk(root: Path, ids: Mapping[str, int], colours: Sequence[int], rows: Sequence[tuple[Mask, Path]]) -> int:
    """Write some masks, and return how many.

    Args:
        root: the folder that files of masks lie in.
        ids: of the classes.
        colours: the palette.
        rows: what is written, and where to.

    Raises:
        InputError: a mask cannot be read.
    """
    for value, place in rows:
        picture = Image.fromarray(_mask_for(place, root, value, ids))
        picture.putpalette(list(colours))
        picture.save(place, compress_level=1, compress_type=zlib.Z_RLE)  # areas of one value: fast, and smaller
    return len(rows)


def _mask_for(place: Path, root: Path, value: Mask, ids: Mapping[str, int]) -> np.ndarray:
    """Return what :func:`mask_of` does. Raises InputError, which names the mask of an outline that is none."""
    try:
        return mask_of(root, value, ids)
    except InputError as error:
        raise error if isinstance(value, MaskFile) else InputError(f"the mask {place.name}: {error}") from error


def mask_of(root: Path, value: Mask, ids: Mapping[str, int]) -> np.ndarray:
    """Return a mask of class ids, uint8 [H, W]: of a file, its values changed, or drawn on background.

    Raises:
        InputError: the file cannot be read or has several channels, or an outline is none.
    """
    if isinstance(value, Painting):
        return _painted(value, ids)
    code = MaskCode() if value.colours is None else MaskCode(value.colours, is_coloured=True)
    try:
        with Image.open(root / value.path) as image:
            pixels = code.decode(image).astype(np.uint8)
    except DECODER_ERRORS as error:
        raise InputError(f"{root / value.path}: cannot read this mask: {error}") from error
    return pixels if value.table is None else np.array(value.table, np.uint8)[pixels]


def _workers(num_masks: int) -> Executor:
    """Return what writes masks: where a process can be forked, two of them, as drawing holds the interpreter."""
    if num_masks > FEW and sys.platform == "linux":
        return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork"))
    return ThreadPoolExecutor(WORKERS)


def _painted(painting: Painting, ids: Mapping[str, int]) -> np.ndarray:
    width, height = painting.size
    pixels = np.zeros((height, width), np.uint8)
    for region in painting.regions:
        try:
            left, top, inside = _inside(region.outline, width, height)
            pixels[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = ids[region.label]
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError) as error:
            raise InputError(f"an outline of '{region.label}' cannot be drawn: {error}") from error
    return pixels


def _inside(outline: Any, width: int, height: int) -> tuple[int, int, np.ndarray]:
    """Return the left and upper border of an outline, and which pixels from there on it holds [h, w]."""
    if isinstance(outline, dict):
        if list(outline["size"]) != [height, width]:
            raise ValueError(f"it is for {outline['size']} pixels")
        return 0, 0, coco_mask.decode(coco_mask.segmToRle(outline, width, height)) > 0
    parts = [np.array(part, np.float64).reshape(-1, 2) for part in outline]
    corners = np.array([[part.min(axis=0), part.max(axis=0)] for part in parts])
    (x1, y1), (x2, y2) = corners[:, 0].min(axis=0).tolist(), corners[:, 1].max(axis=0).tolist()
    left, top = (min(max(math.floor(least), 0), side - 1) for least, side in ((x1, width), (y1, height)))
    right, bottom = (min(max(math.ceil(most) + 1, 1), side) for most, side in ((x2, width), (y2, height)))
    moved = [(part - (left, top)).ravel().tolist() for part in parts]
    runs = coco_mask.segmToRle(moved, right - left, bottom - top)  # a part of the image, as that is faster
    return left, top, coco_mask.decode(runs) > 0
