"""Keypoints on a picture: a dot each, and limbs between those whose names say that they belong together."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from fbnetv5.report.colours import Colour

SIDE_LIMBS = (  # of the left and of the right
    ("ankle", "knee"),
    ("knee", "hip"),
    ("hip", "shoulder"),
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("eye", "ear"),
)
LIMBS = (
    *((f"{side}_{one}", f"{side}_{other}") for side in ("left", "right") for one, other in SIDE_LIMBS),
    ("left_hip", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_eye", "nose"),
    ("right_eye", "nose"),
    ("pelvis", "thorax"),
    ("thorax", "upper_neck"),
    ("upper_neck", "head_top"),
    ("neck", "head_top"),
)
LEFT: Colour = (255, 127, 14)
RIGHT: Colour = (31, 119, 180)
MIDDLE: Colour = (44, 160, 90)
PAPER: Colour = (255, 255, 255)
RADIUS = 4  # of a dot, in pixels


def with_keypoints(
    photo: Image.Image, points: Tensor, scale: float, names: Sequence[str], *, least: float
) -> Image.Image:
    """Draw keypoints, orange on the person's left, blue on the right, green between.

    Args:
        photo: the picture; it is copied.
        points: [K, 3]: x, y in pixels before the picture was scaled, and a visibility or score.
        scale: the factor that it was scaled by.
        names: of the K keypoints.
        least: points whose third number is lower are not drawn.
    """
    canvas = photo.copy()
    draw = ImageDraw.Draw(canvas)
    shown = {
        name: (x * scale, y * scale)
        for name, (x, y, value) in zip(names, points.detach().double().cpu().tolist(), strict=True)
        if value >= least
    }
    for one, other in LIMBS:
        if one in shown and other in shown:
            draw.line((shown[one], shown[other]), fill=PAPER, width=5)  # a light rim, to stand out on any ground
            draw.line((shown[one], shown[other]), fill=_colour(one, other), width=3)
    for name, (x, y) in shown.items():
        corners = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
        draw.ellipse(corners, fill=_colour(name, name), outline=PAPER)
    return canvas


def _colour(one: str, other: str) -> Colour:
    for side, colour in (("left", LEFT), ("right", RIGHT)):
        if side in one and side in other:
            return colour
    return MIDDLE
