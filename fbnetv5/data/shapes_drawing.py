"""Draws one picture of the shapes data set with all that is known about it; ``shapes`` says what it is for.

Everything is drawn through distances: a pixel belongs to a shape if its centre lies inside, and the colour of a shape
fades over the one pixel around its border. Coordinates are pixels; the centre of the first pixel is 0.5.
"""

from __future__ import annotations

import colorsys
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from fbnetv5.data.shapes_worlds import HOLLOW, SOLID, WORLDS, Range, World

PLAIN = WORLDS["plain"]
SCENES = ("sky", "ground", "column", "belt", "spot", "ring")
SURFACES = ("background", "object", "wire")

MAX_WIRES = 3
WEAVE_PERIOD = 3.0, 5.0  # of the stripes of a scene, in pixels of any image
DASHES = 5.0, 8.0  # of a broken wire
HOLLOW_RIM = 0.5  # of the distance from the border to the centre

Array = np.ndarray[Any, Any]
Random = np.random.Generator


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        image: uint8 [3, S, S].
        scene: index into ``SCENES``.
        boxes: float32 [n, 4], x1 y1 x2 y2, around each whole object, hidden parts included.
        kinds: int64 [n], indices into the world's ``objects``.
        surface: uint8 [S, S], indices into ``SURFACES``.
        depth: float32 [S, S]: 1 for the background, 0 for wires; objects between, the nearer the larger.
    """

    image: Array
    scene: int
    boxes: Array
    kinds: Array
    surface: Array
    depth: Array


@dataclass(frozen=True)
class Shape:
    """An object: name, centre and rotation, and the radius of the circle around it."""

    name: str
    x: float
    y: float
    angle: float
    radius: float

    @property
    def outline(self) -> str:
        """Its outline, disk, square or triangle, whether there is a hole in it or not."""
        return SOLID[HOLLOW.index(self.name)] if self.name in HOLLOW else self.name

    def distance(self, xs: Array, ys: Array) -> Array:
        """Return the distance of points to the border, [len(ys), len(xs)]; negative inside."""
        dx, dy = xs[None, :] - self.x, ys[:, None] - self.y
        if self.outline == "disk":
            inner, distance = self.radius, np.sqrt(dx * dx + dy * dy) - self.radius
        else:
            corners = _CORNERS[self.outline]
            normals = self.angle + (np.arange(corners) + 0.5) * (2 * np.pi / corners)
            sides = [np.cos(normal) * dx + np.sin(normal) * dy for normal in normals]
            inner = self.radius * np.cos(np.pi / corners)
            distance = functools.reduce(np.maximum, sides) - inner
        return np.maximum(distance, -distance - HOLLOW_RIM * inner) if self.name in HOLLOW else distance


_CORNERS = {"square": 4, "triangle": 3}


def render(size: int, seed: int, world: World = PLAIN) -> Picture:
    """Draw the picture of ``size`` x ``size`` pixels that belongs to ``seed``: the background, objects, then wires."""
    random = np.random.default_rng(seed)
    scene = int(random.integers(len(SCENES)))
    image = _background(random, world, scene, size)
    _draw_clutter(random, world, image)
    surface = np.zeros((size, size), np.uint8)
    depth = np.ones((size, size), np.float32)
    shapes = _place_shapes(random, world, size)
    boxes = [_draw_shape(random, world, shape, image, surface, depth) for shape in shapes]
    for _ in range(int(random.integers(1, MAX_WIRES + 1))):
        _draw_wire(random, world, image, surface, depth)
    image += world.noise * random.standard_normal((size, size), np.float32)
    return Picture(
        image=image.clip(0, 255).astype(np.uint8),
        scene=scene,
        boxes=np.array(boxes, np.float32),
        kinds=np.array([world.objects.index(shape.name) for shape in shapes], np.int64),
        surface=surface,
        depth=depth,
    )


def _background(random: Random, world: World, scene: int, size: int) -> Array:
    """Return float32 [3, S, S]: a random colour, lighter where the scene says so, under random tint and shading."""
    level = layout(SCENES[scene], random, size) + 0.2 * _clouds(random, size)
    light = np.tanh(level / 0.15)
    light -= light.mean()
    colour = _colour(random, *world.background)
    tint = np.stack([_clouds(random, size) for _ in range(3)])
    ramp = np.linspace(-12, 12, size)
    shading = 6 * _clouds(random, size) + random.uniform(-1, 1) * ramp + random.uniform(-1, 1) * ramp[:, None]
    shading += random.uniform(*world.light) * light
    if world.weave is not None:
        shading += random.uniform(*world.weave) * _weave(random, level, size)
    return (colour[:, None, None] + shading + 6 * tint).astype(np.float32)


def layout(scene: str, random: Random, size: int) -> Array:
    """Return how far inside the light part of the scene each pixel is, [S, S]; the image reaches from -1 to 1."""
    axis = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    x, y = axis[None, :] - random.uniform(-0.15, 0.15), axis[:, None] - random.uniform(-0.15, 0.15)
    spread = random.uniform(0.9, 1.1)
    inside = {
        "sky": lambda: -y + 0 * x,
        "ground": lambda: y + 0 * x,
        "column": lambda: 0.5 * spread - np.abs(x) + 0 * y,
        "belt": lambda: 0.5 * spread - np.abs(y) + 0 * x,
        "spot": lambda: 0.75 * spread - np.sqrt(x * x + y * y),
        "ring": lambda: np.sqrt(x * x + y * y) - 0.75 * spread,
    }
    return inside[scene]()


def _weave(random: Random, level: Array, size: int) -> Array:
    """Return fine waving stripes, [S, S], along the rows where ``level`` is above 0, along the columns elsewhere."""
    axis = np.arange(size, dtype=np.float32)
    columns, rows = (
        np.sin(2 * np.pi * (along / random.uniform(*WEAVE_PERIOD) + random.random()) + _clouds(random, size))
        for along in (axis[None, :], axis[:, None])
    )
    return np.where(level > 0, rows, columns)


def _clouds(random: Random, size: int) -> Array:
    """Return smooth noise, [S, S], of about unit variance."""
    basis = _cloud_basis(size)
    return basis @ random.standard_normal((basis.shape[1], basis.shape[1]), np.float32) @ basis.T


@functools.lru_cache(maxsize=4)
def _cloud_basis(size: int, waves: int = 4) -> Array:
    position = (np.arange(size)[:, None] + 0.5) / size
    basis = np.cos(np.pi * position * np.arange(1, waves + 1)[None, :])
    return (basis * np.sqrt(2 / waves)).astype(np.float32)


def _place_shapes(random: Random, world: World, size: int) -> list[Shape]:
    """Return 1 to ``max_objects`` shapes that overlap no more than they may, the farthest (smallest) first."""
    shapes: list[Shape] = []
    boxes: list[tuple[float, float, float, float]] = []
    for _ in range(int(random.integers(1, world.max_objects + 1))):
        name, angle = world.objects[random.integers(len(world.objects))], random.uniform(0, 2 * np.pi)
        side = size * np.exp(random.uniform(*np.log(world.sizes)))
        left, top, right, bottom = _extent(Shape(name, 0, 0, angle, 1))
        radius = side / max(right - left, bottom - top)
        for _ in range(6):
            x = random.uniform(-radius * left, size - radius * right)
            y = random.uniform(-radius * top, size - radius * bottom)
            box = (x + radius * left, y + radius * top, x + radius * right, y + radius * bottom)
            if all(_overlap(box, other) <= world.max_overlap for other in boxes):
                shapes.append(Shape(name, x, y, angle, radius))
                boxes.append(box)
                break
    return sorted(shapes, key=lambda shape: shape.radius)


def _extent(shape: Shape) -> tuple[float, float, float, float]:
    """Return the box x1 y1 x2 y2 around a shape of radius 1 at the origin."""
    if shape.outline == "disk":
        return -1.0, -1.0, 1.0, 1.0
    corners = _CORNERS[shape.outline]
    angles = shape.angle + np.arange(corners) * (2 * np.pi / corners)
    x, y = np.cos(angles), np.sin(angles)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Return the share of the smaller box that the other one covers."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(0.0, width) * max(0.0, height) / smaller


def _draw_shape(random: Random, world: World, shape: Shape, image: Array, surface: Array, depth: Array) -> list[int]:
    """Draw one object and return the box around its pixels."""
    size = len(surface)
    left, right = (int(np.clip(shape.x + sign * (shape.radius + 2), 0, size)) for sign in (-1, 1))
    top, bottom = (int(np.clip(shape.y + sign * (shape.radius + 2), 0, size)) for sign in (-1, 1))
    xs, ys = np.arange(left, right, dtype=np.float32) + 0.5, np.arange(top, bottom, dtype=np.float32) + 0.5
    distance = shape.distance(xs, ys)
    inside = distance <= 0
    window = (slice(top, bottom), slice(left, right))
    surface[window][inside] = SURFACES.index("object")
    depth[window][inside] = 1 - shape.radius / size
    colour = _colour(random, *world.object)[:, None, None]
    shade = 1.1 - 0.3 * (ys[:, None] - shape.y + shape.radius) / (2 * shape.radius)
    rim = 1 - 0.45 * np.clip(distance + 2, 0, 1)
    canvas = image[:, window[0], window[1]]
    canvas += np.clip(0.5 - distance, 0, 1) * (colour * shade * rim - canvas)
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    return [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]


def _draw_clutter(random: Random, world: World, image: Array) -> None:
    """Draw what looks like objects and wires, but belongs to the background: soft blots, and broken wires."""
    size = image.shape[-1]
    axis = np.arange(size, dtype=np.float32) + 0.5
    for _ in range(int(random.integers(world.max_blots + 1)) if world.max_blots else 0):
        x, y = random.uniform(0, size, 2)
        radius = 0.5 * size * np.exp(random.uniform(*np.log(world.sizes)))
        cover = np.exp(-(((axis[None, :] - x) / radius) ** 2) - ((axis[:, None] - y) / radius) ** 2)
        image += 0.8 * cover * (_colour(random, *world.object)[:, None, None] - image)
    for _ in range(int(random.integers(world.max_dashes + 1)) if world.max_dashes else 0):
        nowhere = np.zeros((size, size), np.uint8), np.ones((size, size), np.float32)
        _draw_wire(random, world, image, *nowhere, broken=True)


def _draw_wire(
    random: Random, world: World, image: Array, surface: Array, depth: Array, *, broken: bool = False
) -> None:
    """Draw a polyline from one side of the image to the opposite one; every second part of a broken one is missing."""
    size = len(surface)
    width = max(1.0, random.uniform(*world.wires) * size / 128)
    grey = random.uniform(10, 50) if random.random() < 0.5 else random.uniform(215, 250)
    if random.random() < 0.5:
        image, surface, depth = image.swapaxes(1, 2), surface.T, depth.T
    wandering = random.uniform(0, 2) + np.cumsum(random.uniform(-0.35, 0.35, random.integers(3, 6)))
    knots = np.abs(wandering % 2 - 1)  # reflected at the border
    along = np.arange(size, dtype=np.float32) + 0.5
    across = np.interp(along, np.linspace(0, size, len(knots)), size * knots).astype(np.float32)
    cosine = 1 / np.sqrt(1 + np.gradient(across) ** 2)
    first, last = (int(np.clip(end, 0, size)) for end in (across.min() - 2 * width, across.max() + 2 * width))
    distance = np.abs(along[first:last, None] - across[None, :]) * cosine[None, :]
    inside = distance <= width / 2
    surface[first:last][inside] = SURFACES.index("wire")
    depth[first:last][inside] = 0
    cover = np.clip(width / 2 + 0.5 - distance, 0, 1)
    if broken:
        cover *= (along / size * random.uniform(*DASHES)) % 1 < 0.5
    image[:, first:last] += cover * (grey - image[:, first:last])


def _colour(random: Random, saturation: Range, value: Range) -> Array:
    """Return float32 [3], RGB in 0..255, of a random hue."""
    colour = colorsys.hsv_to_rgb(random.random(), random.uniform(*saturation), random.uniform(*value))
    return np.array(colour, np.float32) * 255
