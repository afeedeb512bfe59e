"""Colours of classes: the same in masks, boxes and legends, and in every picture of a run."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

Colour = tuple[int, int, int]

FIRST: tuple[Colour, ...] = (  # far apart, also for those who do not tell red from green
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 90),
    (214, 39, 76),
    (148, 103, 189),
    (240, 196, 25),
    (23, 190, 207),
    (140, 86, 75),
    (232, 120, 190),
    (120, 180, 40),
)
GOLDEN = 0.618034  # steps of this part of the circle keep hues apart, however many there are
SHADES = ((0.75, 0.95), (0.95, 0.65), (0.5, 0.8), (0.85, 0.45))  # saturation and value


def class_colours(count: int) -> list[Colour]:
    """Return ``count`` distinct colours, red green blue in 0..255; those of fewer classes are the first of more."""
    colours = list(FIRST[:count])
    for index in range(count - len(colours)):
        saturation, value = SHADES[index % len(SHADES)]
        red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN % 1, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever reads better on ``colour``."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 145 else (255, 255, 255)


def palette(colours: Sequence[Colour]) -> list[int]:
    """Return the 768 numbers of a PNG's palette: the colours of the classes, then black; 255, ignored, is white."""
    flat = [level for colour in colours for level in colour]
    return [*flat, *[0] * (765 - len(flat)), 255, 255, 255]
