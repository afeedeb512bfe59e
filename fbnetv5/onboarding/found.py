"""Labels as they are found in a folder, whatever their format: by image, in the frame that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


def without_masks(count: int) -> str:
    """Return a note on images that are left out of the masks to be drawn."""
    return f"{count:,} images have no mask, as not all of their objects have an outline"


def text_of(file: Path) -> str:
    """Return the text of a file beside labels; nothing where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def left_out_boxes(count: int) -> list[str]:
    """Return a note on boxes of which nothing is left when they are cut at the border of their image."""
    return [f"{count:,} boxes that are inverted or outside of their image are left out"] if count else []


def unread_images(images: Sequence[str]) -> str:
    """Return a note on images that have labels and cannot be read."""
    return f"{len(images):,} labelled images cannot be read, and are left out, such as {images[0]}"


TARGETS = ("labels", "boxes", "masks", "keypoints")  # as a split of a config calls them


class Box(NamedTuple):
    """A box, x1 y1 x2 y2 in pixels; ``crowd`` ones are neither learnt nor counted against a detector."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    crowd: bool = False


class Region(NamedTuple):
    """A part of a mask: COCO's polygons in pixels, or its run lengths, and the class."""

    label: str
    outline: Any


@dataclass(frozen=True)
class Painting:
    """A mask that is to be drawn, for an image of ``size`` (width, height) in pixels; later regions lie above."""

    size: tuple[int, int]
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class MaskFile:
    """A PNG mask.

    Attributes:
        path: below the folder.
        table: what the values 0 to 255 become, where they are not class ids.
        colours: the class id, or 255, of each colour 0xRRGGBB, where it is in colours.
    """

    path: str
    table: tuple[int, ...] | None = None
    colours: Mapping[int, int] | None = None


class Ready(NamedTuple):
    """What a config can name as it is: the folder that the names of images start from, and the file or folder."""

    images: str
    place: str


@dataclass(frozen=True)
class Found:
    """Labels of one kind in one format.

    Attributes:
        target: one of ``TARGETS``.
        format: for people.
        where: the files or folders, for people.
        values: by image, a path below the folder: a class name; a list of :class:`Box`; a :class:`MaskFile` or
            :class:`Painting`; a list of points (x, y, visibility) from the image's corner.
        classes: their names, in the order of ids.
        splits: of images whose split the format tells: train, val or test.
        ready: by split, where this program reads the files as they are.
        sizes: (width, height) of images that the labels say they are for.
        notes: what a person should know, a line each.
        mask_values: what a config says of the masks that are ready, as ``data.mask_values``.
        can_mirror: whether it is known which keypoints change places in a mirrored image.
    """

    target: str
    format: str
    where: tuple[str, ...]
    values: Mapping[str, Any]
    classes: tuple[str, ...]
    splits: Mapping[str, str] = field(default_factory=dict)
    ready: Mapping[str, Ready] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    mask_values: Mapping[str, int] = field(default_factory=dict)
    can_mirror: bool = True

    @property
    def num_things(self) -> int:
        """Boxes, for boxes, else images."""
        return sum(map(len, self.values.values())) if self.target == "boxes" else len(self.values)

    @property
    def num_classes(self) -> str:
        """How many classes or keypoints there are, in words."""
        count, is_pose = len(self.classes), self.target == "keypoints"
        word = ("keypoint" if is_pose else "class") if count == 1 else ("keypoints" if is_pose else "classes")
        return f"{count} {word}"
