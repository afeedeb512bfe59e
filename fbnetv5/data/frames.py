"""Finds out in which frame the labels of a data set are, the stored one or the upright one (``data.orientation``)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from fbnetv5.data.images import image_header
from fbnetv5.data.index import Index, labelled_size
from fbnetv5.data.orientation import Extent, Frames, told_by_size

PROBED = 1000  # images, evenly spaced, whose headers are read: a second or so, however many there are
logger = logging.getLogger(__name__)


def choose_frames(exif: str, index: Index, root: Path, images: Path) -> Frames:
    """Return which images are turned upright, and say so in one line where some have an EXIF orientation.

    Args:
        exif: ``data.exif``: auto, apply or ignore.
        index: the images and labels.
        root: the folder that its masks and maps are relative to.
        images: the folder that its images are relative to.
    """
    if exif != "auto":
        return Frames(upright=exif == "apply", by_size=False)
    return frames_of(
        f"{index.origin} (data.exif=auto)",
        len(index),
        lambda row: images / index.value("path", row),
        lambda row: labelled_size(index, row, root),
    )


def frames_of(
    origin: str, num_images: int, place_of: Callable[[int], Path], size_of: Callable[[int], Extent | None]
) -> Frames:
    """Return which images are turned upright, by the sizes that their labels are for, and say so where some are tagged.

    Args:
        origin: where the labels come from, for the line that is logged.
        num_images: that there are.
        place_of: the file of an image, by its number.
        size_of: the (width, height) that its labels are for, None where they do not tell.
    """
    count = min(num_images, PROBED)
    num_tagged, told = 0, []
    for number in (num_images * place // count for place in range(count)):
        header = image_header(place_of(number))
        if header is None or header[1] == 1:  # loading the image will say what is wrong with it
            continue
        num_tagged += 1
        told.append(told_by_size(header[1], header[0], size_of(number)))
    upright, stored = told.count(True), told.count(False)
    frames = Frames(upright=upright >= stored)
    if num_tagged:
        looked = "" if count == num_images else f" (looked at {count:,} of {num_images:,})"
        logger.warning(
            "%s: %d images have an EXIF orientation%s; the size of their labels is that of the upright image %d times, "
            "of the stored one %d times: %s",
            origin,
            num_tagged,
            looked,
            upright,
            stored,
            _reading(upright, stored),
        )
    return frames


def _reading(upright: int, stored: int) -> str:
    if upright and stored:
        return f"each is read as its size says, the others {'upright' if upright >= stored else 'as stored'}"
    return "read as stored" if stored else "read upright"
