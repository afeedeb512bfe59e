"""The colours of masks in RGB: tables of them that lie beside the masks, Cityscapes' own, and greys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fbnetv5.base.types import IGNORE
from fbnetv5.data.images import DECODER_ERRORS
from fbnetv5.data.mask_codes import MaskCode, colour_text, packed
from fbnetv5.onboarding.found import text_of
from fbnetv5.onboarding.listing import Listing, num_shared

TABLES = ("class_dict.csv", "label_colors.txt", "label_colours.txt", "labelmap.txt", "colormap.txt")
MODES = ("RGB", "RGBA")
COLOUR_FIRST = re.compile(r"(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(\S.*)")  # CamVid's own: 64 128 64   Animal
NAME_FIRST = re.compile(r"(.+?)\s*[\s,;:]\s*(\d+)[\s,;]+(\d+)[\s,;]+(\d+)\s*(:.*)?")  # class_dict.csv, and CVAT's
VOID = {"void", "unlabelled", "unlabeled", "unlabel", "ignore", "ignored", "undefined", "out of roi"}
MISSING = "no table of colours: give class_dict.csv (name,r,g,b) or label_colors.txt (r g b name) beside the masks"
SAMPLED = 60  # masks whose colours are looked at
ONE_GREY = 0x010101  # times a value is its grey
CITYSCAPES = {  # the 19 classes that are evaluated
    **{"road": 0x804080, "sidewalk": 0xF423E8, "building": 0x464646, "wall": 0x66669C, "fence": 0xBE9999},
    **{"pole": 0x999999, "traffic light": 0xFAAA1E, "traffic sign": 0xDCDC00, "vegetation": 0x6B8E23},
    **{"terrain": 0x98FB98, "sky": 0x4682B4, "person": 0xDC143C, "rider": 0xFF0000, "car": 0x00008E},
    **{"truck": 0x000046, "bus": 0x003C64, "train": 0x005064, "motorcycle": 0x0000E6, "bicycle": 0x770B20},
}
CITYSCAPES_IGNORED = (
    *(0x000000, 0x6F4A00, 0x510051, 0xFAAAA0, 0xE6968C, 0xB4A5B4, 0x966464, 0x96785A, 0x00005A, 0x00006E),
)


@dataclass(frozen=True)
class Colours:
    """What colours mean.

    Attributes:
        ids: the class id of each colour 0xRRGGBB, or 255.
        classes: names of the class ids; none where the colours are greys, of which only the values are known.
        note: where it comes from, for people.
        values: the greys that the masks hold, where they are greys.
    """

    ids: Mapping[int, int]
    classes: tuple[str, ...]
    note: str
    values: frozenset[int] = frozenset()

    @property
    def code(self) -> MaskCode:
        """What reads the masks."""
        return MaskCode(self.ids, is_coloured=True)

    def as_config(self) -> dict[str, int]:
        """Return the colours as ``data.mask_values`` has them."""
        return {colour_text(colour): number for colour, number in self.ids.items()}


def colours_of(listing: Listing, folder: str, files: Sequence[str]) -> Colours | str:
    """Return what the colours of a folder of masks mean, or why that is not known."""
    seen = _seen(listing.root, files)
    why = MISSING
    for name in sorted(listing.called(TABLES, folder), key=lambda name: -num_shared(name, folder)):
        colours = parse_table(text_of(listing.root / name), name)
        if colours is None:
            continue
        unknown = sorted(seen - set(colours.ids))
        if len(unknown) <= len(seen & set(colours.ids)):
            return _with_ignored(colours, unknown, name)
        why = f"{len(unknown)} colours, such as {colour_text(unknown[0])}, are not in {name}"
    if len(seen & set(CITYSCAPES.values())) > 2 and seen <= {*CITYSCAPES.values(), *CITYSCAPES_IGNORED}:
        ids = {colour: number for number, colour in enumerate(CITYSCAPES.values())}
        ids |= dict.fromkeys(CITYSCAPES_IGNORED, IGNORE)
        return Colours(ids, tuple(CITYSCAPES), "colours are those of Cityscapes; all but its 19 classes are ignored")
    if seen and all(colour % ONE_GREY == 0 for colour in seen):
        values = frozenset(colour // ONE_GREY for colour in seen)
        return Colours({colour: colour // ONE_GREY for colour in seen}, (), "masks are grey, stored as RGB", values)
    return why


def parse_table(text: str, name: str) -> Colours | None:
    """Return what a table of colours says, a line a class; None if it is none.

    Args:
        text: of the file.
        name: of the file.
    """
    named: dict[int, str] = {}
    for line in map(str.strip, text.splitlines()):
        first, second = COLOUR_FIRST.fullmatch(line), NAME_FIRST.fullmatch(line)
        if line.startswith("#") or not (first or second):
            continue
        label, *digits = (first[4], first[1], first[2], first[3]) if first else second.groups()[:4]  # type: ignore[union-attr]
        red, green, blue = map(int, digits)
        if max(red, green, blue) <= 255:
            named.setdefault((red << 16) | (green << 8) | blue, label.strip().strip("\"'"))
    classes = tuple(dict.fromkeys(label for label in named.values() if label.lower() not in VOID))
    if len(classes) < 2:
        return None
    numbers = {label: number for number, label in enumerate(classes)}
    ids = {colour: numbers.get(label, IGNORE) for colour, label in named.items()}
    ignored = sorted({label for label in named.values() if label not in numbers})
    note = f"colours are those of {name}" + (f"; {', '.join(ignored)} is ignored" if ignored else "")
    return Colours(ids, classes, note)


def _with_ignored(colours: Colours, unknown: Sequence[int], name: str) -> Colours:
    """Return colours of which some more, that the table ``name`` lacks, are ignored."""
    if not unknown:
        return colours
    note = f"{colours.note}; {len(unknown)} others, such as {colour_text(unknown[0])}, are ignored"
    return Colours({**colours.ids, **dict.fromkeys(unknown, IGNORE)}, colours.classes, note)


def _seen(root: Path, files: Sequence[str]) -> set[int]:
    """Return the colours of some masks, evenly spaced."""
    seen: set[int] = set()
    for name in files[:: -(-len(files) // SAMPLED)]:
        try:
            with Image.open(root / name) as image:
                seen.update(np.unique(packed(image)).tolist())
        except DECODER_ERRORS:  # check names it
            continue
    return seen
