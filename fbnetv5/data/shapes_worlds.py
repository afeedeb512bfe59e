"""The worlds of the shapes data set: what is drawn, of which sizes, and how well it can be told apart.

``plain`` is the data set as it has always been; a small network soon knows its scenes. ``hard`` is for comparisons of
networks: a small one that is trained to its plateau is right about half to four fifths of the time in every task, and
which features it combines shows in all of them. Its label is a number of objects, since any network comes to know
scenes, however faint: what differs is how soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SOLID = ("disk", "square", "triangle")
HOLLOW = ("hoop", "frame", "delta")  # the same outlines around a hole

Range = tuple[float, float]


@dataclass(frozen=True)
class World:
    """What the pictures of a world are drawn from; ranges are uniform, those of sizes in their logarithm.

    Attributes:
        objects: names of the classes of objects, of ``SOLID`` and ``HOLLOW``.
        max_objects: an image has 1 to this many.
        label: what the label of an image says, its ``scene`` or the ``count`` of its objects.
        sizes: the longer side of an object's box, relative to the side of the image.
        max_overlap: share of the smaller of two boxes that the other one may cover.
        wires: their width, in pixels of an image of 128; at least one pixel of any.
        light: how much lighter the light part of a scene is than its mean, in levels of 0..255.
        weave: amplitude of fine stripes, along the rows in the light part of a scene and along the columns in the
            other, in levels; None where there are none.
        background, object: saturation and value of their colours.
        max_blots: soft blots of an object's colour, which are background; at most this many.
        max_dashes: broken wires, which are background; at most this many.
        noise: deviation of every pixel, in levels.
    """

    objects: tuple[str, ...] = SOLID
    max_objects: int = 5
    label: Literal["scene", "count"] = "scene"
    sizes: Range = (0.065, 0.45)
    max_overlap: float = 0.15
    wires: Range = (1.0, 3.0)
    light: Range = (15, 24)
    weave: Range | None = None
    background: tuple[Range, Range] = ((0.1, 0.45), (0.35, 0.75))
    object: tuple[Range, Range] = ((0.5, 0.9), (0.55, 1.0))
    max_blots: int = 0
    max_dashes: int = 0
    noise: float = 4


WORLDS = {
    "plain": World(),
    "hard": World(
        objects=("disk", "triangle", "hoop"),
        max_objects=4,
        label="count",
        sizes=(0.18, 0.5),
        wires=(1.5, 4.0),
        light=(2, 24),
        weave=(4, 24),
        max_blots=1,
        max_dashes=1,
        noise=5,
    ),
}
