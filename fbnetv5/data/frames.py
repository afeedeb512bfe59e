"""Finds out in which frame the labels of a data set are, the stored one or the upright one (``data.orientation``)."""

from __future__ import annotations

import logging
from pathlib import Path

from fbnetv5.data.images import image_header
from fbnetv5.data.index import Index, labelled_size
from fbnetv5.data.orientation import Frames, told_by_size

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
    count = min(len(index), PROBED)
    num_tagged, told = 0, []
    for row in (len(index) * place // count for place in range(count)):
        header = image_header(images / index.value("path", row))
        if header is None or header[1] == 1:  # loading the image will say what is wrong with it
            continue
        num_tagged += 1
        told.append(told_by_size(header[1], header[0], labelled_size(index, row, root)))
    upright, stored = told.count(True), told.count(False)
    frames = Frames(upright=upright >= stored)
    if num_tagged:
        looked = "" if count == len(index) else f" (looked at {count:,} of {len(index):,})"
        logger.warning(
            "%s: %d images have an EXIF orientation%s; the size of their labels is that of the upright image %d times, "
            "of the stored one %d times: %s (data.exif=auto)",
            index.origin,
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
