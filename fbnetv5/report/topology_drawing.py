"""Draws a topology in the manner of FBNetV5's Fig. 3, and the probabilities of its blocks, for files and pages alike.

Lengths are in inches, y runs downwards, and text has 7 points and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve

from fbnetv5.archs.topology import ALL_PATHS, Block, Topology
from fbnetv5.report.history import History
from fbnetv5.report.style import DOWN, EDGE, FAINT, GHOST, GREY, INK, PATH_COLOURS, SELECT, SKIP, UNSEEN, UP
from fbnetv5.report.task_look import TaskLook
from fbnetv5.report.topology_parts import Kind, Line, State, box_states, lines

NUMBERS = 0.1  # from the stages' numbers to what stands below them
BOX = 0.42  # width of a box, as a part of the distance between stages
LARGEST_BOX = (0.36, 0.24)
CURVE = 0.22  # height of a block's probability over time
CURVE_POINTS = 48

STATE_STYLES: dict[State, dict[str, Any]] = {  # what differs from a box filled with its path's colour
    "used": {},
    "unused": {"facecolor": "white", "edgecolor": UNSEEN, "linestyle": (0, (2.2, 1.6)), "linewidth": 0.9},
    "skipped": {"facecolor": GHOST, "zorder": 0},
    "output": {"facecolor": "white", "linewidth": 1.6},
}
LINE_STYLES: dict[Kind, tuple[str, float, Any, str]] = {  # colour, width in points, dashes, name
    "trunk": (EDGE, 1.3, "-", ""),  # not in the legend
    "path": (EDGE, 1.3, "-", "along a path"),
    "down": (DOWN, 0.8, "-", "fused into a lower resolution"),
    "up": (UP, 0.8, (0, (3.2, 1.4)), "fused into a higher resolution"),
}
HEAT = LinearSegmentedColormap.from_list("skip_to_select", [SKIP, "#f3b06e", "#f1f1ee", "#7db3dc", SELECT])
TEXT = {"fontsize": 7.5, "color": GREY, "va": "center_baseline"}


@dataclass(frozen=True)
class Boxes:
    """Where the boxes of a topology are: stages in columns, the trunk first and the outputs last; paths in rows.

    Attributes:
        first: (x, y) of the middle of the trunk's first box.
        pitch: from one stage to the next, and from one path to the next.
        size: width and height of a box.
    """

    first: tuple[float, float]
    pitch: tuple[float, float]
    size: tuple[float, float]

    @classmethod
    def at(cls, corner: tuple[float, float], pitch: tuple[float, float]) -> Boxes:
        """Return boxes that leave room for the edges between them, with ``corner`` their upper left."""
        first = (corner[0] + BOX / 2 * pitch[0], corner[1] + 0.5 * pitch[1])
        return cls(first, pitch, (min(LARGEST_BOX[0], BOX * pitch[0]), min(LARGEST_BOX[1], 0.6 * pitch[1])))

    @property
    def top(self) -> float:
        """Where the first row begins."""
        return self.first[1] - 0.5 * self.pitch[1]

    def centre(self, block: Block) -> tuple[float, float]:
        """Return (x, y) of the middle of a box."""
        return self.first[0] + block[0] * self.pitch[0], self.first[1] + block[1] * self.pitch[1]


@dataclass(frozen=True)
class Cells:
    """Where the probabilities of blocks are: stage 1 in the first column, paths in rows.

    Attributes:
        corner: (x, y) of their upper left.
        size: width and height of a cell.
    """

    corner: tuple[float, float]
    size: tuple[float, float]

    def place(self, block: Block) -> tuple[float, float]:
        """Return (x, y) of the upper left of a block's cell."""
        return self.corner[0] + (block[0] - 1) * self.size[0], self.corner[1] + block[1] * self.size[1]


def inch_axes(figure: Figure, place: tuple[float, float], size: tuple[float, float]) -> Axes:
    """Add bare axes in inches, with ``place`` their upper left corner from that of the figure."""
    (x, y), (width, height), (whole, tall) = place, size, figure.get_size_inches()
    axes = figure.add_axes((x / whole, 1 - (y + height) / tall, width / whole, height / tall))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def draw_topology(axes: Axes, boxes: Boxes, topology: Topology) -> None:
    """Draw boxes and lines, the numbers of stages above them, and the strides at the left edge."""
    above = boxes.top - NUMBERS
    for stage, name in enumerate(["trunk", *map(str, range(1, topology.num_stages + 1)), "out"]):
        axes.text(boxes.centre((stage, 0))[0], above, name, TEXT, ha="center")
    axes.text(0, above, "stride", TEXT)
    for path in ALL_PATHS:
        axes.text(0, boxes.centre((0, path))[1], str(4 << path), TEXT)
    for line in lines(topology):
        _draw_line(axes, boxes, line)
    for block, state in box_states(topology).items():
        draw_box(axes, boxes, block, state)


def draw_box(axes: Axes, boxes: Boxes, block: Block, state: State) -> None:
    """Draw one box."""
    (x, y), (width, height), colour = boxes.centre(block), boxes.size, PATH_COLOURS[block[1]]
    corners = f"round,pad=0,rounding_size={min(0.06, width / 4)}"
    box = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=corners)
    box.set(facecolor=colour, edgecolor=colour, linewidth=0, zorder=3, clip_on=False)
    box.set(**STATE_STYLES[state])
    axes.add_artist(box)


def _draw_line(axes: Axes, boxes: Boxes, line: Line) -> None:
    (x0, y0), (x1, y1), (width, height) = boxes.centre(line.edge.source), boxes.centre(line.edge.target), boxes.size
    if line.kind == "trunk":
        curve = Curve([(x0, y0 + height / 2), (x1, y1 - height / 2)])
    else:
        lean = height * {"path": 0, "down": 0.27, "up": -0.27}[line.kind]
        x0, x1, y0, y1 = x0 + width / 2, x1 - width / 2, y0 + lean, y1 - lean
        points = [(x0, y0), (0.6 * x0 + 0.4 * x1, y0), (0.4 * x0 + 0.6 * x1, y1), (x1, y1)]
        curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    (colour, thickness, dashes, _), is_fusion = LINE_STYLES[line.kind], line.kind in ("down", "up")
    head = "-" if is_fusion else "-|>,head_length=3,head_width=1.6"
    arrow = FancyArrowPatch(path=curve, arrowstyle=head, mutation_scale=1.3, color=colour if line.used else FAINT)
    arrow.set(linestyle=dashes, linewidth=thickness, zorder=2 - is_fusion - 0.5 * (not line.used), capstyle="butt")
    arrow.set(clip_on=False)
    axes.add_artist(arrow)


def draw_probabilities(axes: Axes, cells: Cells, probabilities: Sequence[Sequence[float]], *, strides: bool) -> None:
    """Draw a heat map of probabilities [S][4] in 0..1, with their numbers; ``strides`` at its left where asked for."""
    _draw_numbers(axes, cells, len(probabilities), strides=strides)
    (width, height) = cells.size
    for stage, row in enumerate(probabilities, start=1):
        for path, value in enumerate(row):
            (x, y), ink = cells.place((stage, path)), "white" if abs(value - 0.5) > 0.36 else INK
            axes.add_artist(Rectangle((x, y), width, height, facecolor=HEAT(float(value)), edgecolor="white", lw=1.2))
            axes.text(x + width / 2, y + height / 2, f"{value:.2f}", TEXT, ha="center", fontsize=7, color=ink)


def draw_history(axes: Axes, cells: Cells, history: History) -> None:
    """Draw each block's probability over time, from 0 below to 1 above, and the latest in figures.

    A cell is tinted by the latest one, the stronger the farther it is from a half.
    """
    _draw_numbers(axes, cells, history.num_stages, strides=True)
    count, (width, height) = len(history.records), cells.size
    kept = sorted({round(k * (count - 1) / (CURVE_POINTS - 1)) for k in range(CURVE_POINTS)})
    steps = [history.records[index][0] for index in kept]
    span = (steps[-1] - steps[0]) or 1
    across = [0.04 + (width - 0.08) * (step - steps[0]) / span for step in steps]
    for path in ALL_PATHS:
        (x, y), end = cells.place((1, path)), cells.place((history.num_stages + 1, path))[0]
        half = [y + 0.02 + CURVE / 2] * 2
        axes.add_artist(Line2D([x, end], half, color=FAINT, linewidth=0.7, linestyle=(0, (3, 3)), clip_on=False))
    for slot, last in enumerate(history.last):
        x, y = cells.place((1 + slot // 4, slot % 4))
        colour, weight = (SELECT, "bold") if last > 0.5 else (SKIP, "normal")
        ground = (colour, 0.06 + 0.6 * abs(last - 0.5))
        axes.add_artist(Rectangle((x, y), width, height, facecolor=ground, edgecolor="white", lw=1.2, clip_on=False))
        values = [y + 0.02 + CURVE * (1 - history.records[index][1][slot]) for index in kept]
        line = ([x + 0.04, x + width - 0.04], values * 2) if count == 1 else ([x + place for place in across], values)
        axes.add_artist(Line2D(*line, color=colour, linewidth=1, clip_on=False))
        axes.text(x + width / 2, y + height - 0.085, f"{last:.2f}", TEXT, ha="center", color=INK, weight=weight)


def draw_worth(axes: Axes, cells: Cells, num_stages: int, look: TaskLook) -> None:
    """Draw what each block is worth, and its error below; a cell is tinted if the worth can be told from zero."""
    _draw_numbers(axes, cells, num_stages, strides=True)
    (width, height), largest = cells.size, max(map(abs, look.worth)) or 1.0
    for slot, (worth, error, decided) in enumerate(zip(look.worth, look.errors, look.decided, strict=True)):
        x, y = cells.place((1 + slot // 4, slot % 4))
        ground = (SELECT if worth > 0 else SKIP, 0.1 + 0.5 * abs(worth) / largest) if decided else GHOST
        axes.add_artist(Rectangle((x, y), width, height, facecolor=ground, edgecolor="white", lw=1.2, clip_on=False))
        weight = "bold" if decided and worth > 0 else "normal"
        middle, ink = x + width / 2, INK if decided else GREY
        axes.text(middle, y + 0.36 * height, f"{worth:+.2f}", TEXT, ha="center", color=ink, weight=weight)
        axes.text(middle, y + 0.75 * height, f"\u00b1{error:.2f}", TEXT, ha="center", fontsize=6.5)


def _draw_numbers(axes: Axes, cells: Cells, num_stages: int, *, strides: bool) -> None:
    for path in ALL_PATHS if strides else ():
        x, y = cells.place((1, path))
        axes.text(x - NUMBERS, y + cells.size[1] / 2, str(4 << path), TEXT, ha="right")
    for stage in range(1, num_stages + 1):
        x, y = cells.place((stage, 0))
        axes.text(x + cells.size[0] / 2, y - NUMBERS, str(stage), TEXT, ha="center")
