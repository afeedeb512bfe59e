"""How mask files say the class of a pixel: by class ids as they stand, by other values, or by colours.

``data.mask_values`` gives the class id of each grey value (``{0: 255, 7: 0}``) or of each colour (``{'#804080': 0}``)
that masks hold, 255 for what is ignored; ``data.mask_ignore`` lists more values or colours that are. Without them
values are class ids, and 255 is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE

COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
NO_COLOURS = (
    "data.mask_values should give the class id of each colour ({'#804080': 0}); fbnetv5 init writes it where "
    "class_dict.csv or label_colors.txt lies beside the masks"
)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class MaskCode:
    """What the pixels of mask files mean.

    Attributes:
        ids: the class id, or 255, of each grey value or packed colour (0xRRGGBB) that there is; empty: values are ids.
        ignored: grey values that are ignored, where values are ids.
        is_coloured: whether masks are read as colours.
    """

    ids: Mapping[int, int] = field(default_factory=dict)
    ignored: tuple[int, ...] = ()
    is_coloured: bool = False

    def decode(self, image: Image.Image) -> Array:
        """Return the class ids [H, W] of a mask; where values are ids, as they stand.

        Raises:
            ValueError: a pixel has no meaning; the message goes behind the file's name.
        """
        if self.is_coloured:
            return self._looked_up(packed(image))
        pixels = np.array(image)
        if pixels.ndim != 2 or pixels.dtype.kind not in "biu":
            wanted = f"; {NO_COLOURS}" if image.mode in ("RGB", "RGBA") else ""
            raise ValueError(f"a mask has one channel of class ids, whole numbers; this one is {image.mode}{wanted}")
        if self.ids:
            return self._looked_up(pixels)
        return np.where(np.isin(pixels, self.ignored), IGNORE, pixels) if self.ignored else pixels

    def _looked_up(self, pixels: Array) -> Array:
        keys = np.array(sorted(self.ids))
        places = np.searchsorted(keys, pixels).clip(max=len(keys) - 1)
        unknown = pixels[keys[places] != pixels]
        if unknown.size:
            shown = colour_text(int(unknown[0])) if self.is_coloured else str(int(unknown[0]))
            what = "colour" if self.is_coloured else "mask value"
            bits = "; a mask of one bit holds 0 and 1" if unknown.dtype == bool else ""
            raise ValueError(f"{what} {shown} is neither in data.mask_values nor in data.mask_ignore{bits}")
        return np.array([self.ids[int(key)] for key in keys], np.uint8)[places]


def mask_code(values: Mapping[Any, int], ignore: Sequence[Any], num_classes: int) -> MaskCode:
    """Return the meaning of masks that a config gives.

    Args:
        values: ``data.mask_values``.
        ignore: ``data.mask_ignore``.
        num_classes: that there are; 0: not known.

    Raises:
        InputError: a key is no grey value or colour, both kinds are mixed, or a class id is out of range.
    """
    keys = {key: _key("mask_values", key) for key in values} | {key: _key("mask_ignore", key) for key in ignore}
    colours = [_is_colour(key) for key in keys]
    if any(colours) and not (all(colours) and values):
        raise InputError(
            f"data.mask_values and data.mask_ignore hold colours ('{next(filter(_is_colour, keys))}') and "
            "grey values, or colours without a class: masks have one or the other"
        )
    for key, number in values.items():
        if number != IGNORE and not 0 <= number < (num_classes or IGNORE):
            raise InputError(
                f"data.mask_values: {key} becomes {number}, which is neither a class id (0 to {num_classes - 1}) nor "
                f"{IGNORE}"
            )
    if not values:
        return MaskCode(ignored=tuple(keys.values()))
    ids = {} if all(colours) else {IGNORE: IGNORE}
    ids |= {keys[key]: number for key, number in values.items()} | dict.fromkeys((keys[k] for k in ignore), IGNORE)
    return MaskCode(ids, is_coloured=all(colours))


def packed(image: Image.Image) -> Array:
    """Return the colours of an image, 0xRRGGBB, int32 [H, W]."""
    pixels = np.asarray(image.convert("RGB")).astype(np.int32)
    return (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]


def colour_text(colour: int) -> str:
    """Return a colour 0xRRGGBB as ``#rrggbb``."""
    return f"#{colour:06x}"


def _is_colour(key: Any) -> bool:
    return isinstance(key, str) and COLOUR.fullmatch(key) is not None


def _key(name: str, key: Any) -> int:
    if _is_colour(key):
        return int(key[1:], 16)
    key = int(key) if isinstance(key, str) and key.isdecimal() else key  # as data.mask_values.7=0 has it
    if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key <= IGNORE:
        raise InputError(f"data.{name}: {key} should be a grey value, 0 to {IGNORE}, or a colour such as '#804080'")
    return key
