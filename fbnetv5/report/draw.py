"""Pictures of topologies, in the manner of FBNetV5's Fig. 3, with heat maps of the probabilities they came from.

Lengths are in inches; the figure is 9 wide, so that text of 7 points and more reads well at 900 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path as Curve

from fbnetv5.archs.topology import ALL_PATHS, Block, Edge, Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path

State = Literal["used", "unused", "skipped", "output"]
Kind = Literal["path", "trunk", "down", "up"]

WIDTH = 9.0  # of the figure
MARGIN = 0.15
GAP = 0.28  # between panels, and between a topology and its heat map
HEADER = 0.62  # room for title, subtitle and the stages' numbers, above a grid
FOOTER = 0.72  # room for the legend
LABELS = 0.46  # room for the strides, left of the trunk
NUMBERS = 0.1  # from the stages' numbers to the grid below them
BOX = 0.42  # width of a box, as a part of the distance between stages

INK, GREY, FAINT, GHOST = "#1f2933", "#5b6876", "#b8c2cc", "#eceff2"
PATH_COLOURS = ("#7cccc0", "#3fa0c8", "#2b66ad", "#1f2f6e")  # light to dark: they stay apart in grey print
STATE_STYLES: dict[State, dict[str, Any]] = {  # what differs from a box filled with its path's colour
    "used": {},
    "unused": {"facecolor": "white", "edgecolor": FAINT, "hatch": "//////", "linewidth": 0.8},
    "skipped": {"facecolor": GHOST, "zorder": 0},
    "output": {"facecolor": "white", "linewidth": 1.6},
}
LINE_STYLES: dict[Kind, tuple[str, float, Any, str]] = {  # colour, width in points, dashes, name
    "trunk": ("#3e4c59", 1.3, "-", ""),  # not in the legend
    "path": ("#3e4c59", 1.3, "-", "along a path"),
    "down": ("#8593a5", 0.8, "-", "fused into a lower resolution"),
    "up": ("#c2477f", 0.8, (0, (3.2, 1.4)), "fused into a higher resolution"),
}
HEAT = LinearSegmentedColormap.from_list("skip_to_select", ["#b8560f", "#f3b06e", "#f1f1ee", "#7db3dc", "#1c5a9e"])
LEGEND: dict[str, Any] = {"loc": "lower left", "ncols": 3, "frameon": False, "borderpad": 0, "borderaxespad": 1.35}
TEXT = {"fontsize": 7.5, "color": GREY, "va": "center_baseline", "parse_math": False}
RC: dict[Any, Any] = {"font.family": "DejaVu Sans", "svg.hashsalt": "draw", "hatch.linewidth": 0.7, "text.color": INK}


@dataclass(frozen=True)
class Panel:
    """One topology to draw.

    Attributes:
        title, subtitle: what it is, such as the task, and figures about it; a line each, cut at the panel's edge.
        topology: what is drawn.
        probabilities: [S][4], the probability that block (stage s, path p) is selected, in 0..1; None for no heat map.

    Raises:
        ValueError: ``probabilities`` are not S x 4 numbers.
    """

    title: str
    subtitle: str
    topology: Topology
    probabilities: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        stages = self.topology.num_stages
        if self.probabilities is not None and [len(row) for row in self.probabilities] != [len(ALL_PATHS)] * stages:
            raise ValueError(f"panel '{self.title}': probabilities must be {stages} stages x {len(ALL_PATHS)} paths")


class Line(NamedTuple):
    """An edge to draw: along a path, down the trunk, or a fusion down (to lower resolution) or up."""

    edge: Edge
    kind: Kind
    used: bool


def box_states(topology: Topology) -> dict[Block, State]:
    """Return the state of the trunk's partitions (stage 0), of every block, and of the outputs (stage S + 1) there are.

    A block is used if an output sees it, unused if it is selected all the same, and skipped otherwise.
    """
    kept = topology.prune(topology.outputs)
    states: dict[Block, State] = {(0, path): "used" if path < kept.num_partitions else "unused" for path in ALL_PATHS}
    for block in sorted(Topology.full(topology.num_stages).blocks):
        states[block] = "used" if block in kept.blocks else "unused" if block in topology.blocks else "skipped"
    return states | {(topology.num_stages + 1, path): "output" for path in topology.outputs}


def lines(topology: Topology) -> list[Line]:
    """List the trunk's own edges and all of ``topology.edges()``; an edge is used if an output sees its target."""
    states = box_states(topology)
    drawn = []
    for edge in [*(Edge((0, path), (0, path + 1)) for path in ALL_PATHS[:-1]), *topology.edges()]:
        step = edge.target[1] - edge.source[1]
        kind: Kind = "trunk" if edge.target[0] == 0 else "path" if step == 0 else "down" if step > 0 else "up"
        drawn.append(Line(edge, kind, states[edge.target] != "unused"))
    return drawn


@dataclass(frozen=True)
class Grid:
    """Where things are; pairs are (x, y)."""

    columns: int  # panels side by side
    pitch: tuple[float, float]  # from one stage to the next, and from one path to the next
    panel: tuple[float, float]  # width and height
    heat: tuple[float, float]  # top left corner of the heat map, from the panel's
    cell: tuple[float, float]  # width and height of one of its cells

    @classmethod
    def fit(cls, num_panels: int, num_stages: int, heat: bool) -> Grid:
        """Stack panels with heat maps at the right; or, of few stages, set them side by side with heat maps below."""
        columns = 1 if num_stages > 4 else {1: 1, 2: 2, 4: 2}.get(num_panels, 3)
        width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
        num_pitches = num_stages + 1 + BOX
        if columns == 1:
            cell = min(0.6, 2.4 / max(1, num_stages)) * heat
            pitch = min(1.05, (width - LABELS - GAP - num_stages * cell) / num_pitches)
            rows = min(0.48, max(0.4, 0.5 * pitch))
            left = LABELS + num_pitches * pitch + GAP
            return cls(1, (pitch, rows), (width, HEADER + 4 * rows), (left, HEADER), (cell, rows))
        pitch, rows = (width - LABELS) / num_pitches, 0.42
        cell = min(0.6, pitch)
        left, top = LABELS + (1 + BOX / 2) * pitch - cell / 2, HEADER + 4 * rows + 0.34
        return cls(columns, (pitch, rows), (width, top + (4 * 0.24 if heat else -0.34)), (left, top), (cell, 0.24))

    def centre(self, block: Block) -> tuple[float, float]:
        """Return the centre of a box, from its panel's top left corner."""
        return LABELS + (block[0] + BOX / 2) * self.pitch[0], HEADER + (block[1] + 0.5) * self.pitch[1]

    @property
    def box(self) -> tuple[float, float]:
        """Width and height of a box."""
        return min(0.36, BOX * self.pitch[0]), 0.24


def _draw_line(axes: Axes, grid: Grid, line: Line) -> None:
    (x0, y0), (x1, y1), (width, height) = grid.centre(line.edge.source), grid.centre(line.edge.target), grid.box
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
    axes.add_patch(arrow)


def _draw_box(axes: Axes, grid: Grid, block: Block, state: State) -> None:
    (x, y), (width, height), colour = grid.centre(block), grid.box, PATH_COLOURS[block[1]]
    box = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.06")
    box.set(facecolor=colour, edgecolor=colour, linewidth=0, zorder=3, clip_on=False)
    box.set(**STATE_STYLES[state])
    axes.add_patch(box)


def _draw_heat(axes: Axes, grid: Grid, probabilities: Sequence[Sequence[float]]) -> None:
    (left, top), (width, height) = grid.heat, grid.cell
    for path in ALL_PATHS if grid.columns > 1 else ():
        axes.text(left - NUMBERS, top + (path + 0.5) * height, str(4 << path), TEXT, ha="right")
    for stage, row in enumerate(probabilities):
        x = left + stage * width
        axes.text(x + width / 2, top - NUMBERS, str(stage + 1), TEXT, ha="center")
        for path, value in enumerate(row):
            y, ink = top + path * height, "white" if abs(value - 0.5) > 0.36 else INK
            axes.add_patch(Rectangle((x, y), width, height, facecolor=HEAT(float(value)), edgecolor="white", lw=1.2))
            axes.text(x + width / 2, y + height / 2, f"{value:.2f}", TEXT, ha="center", fontsize=7, color=ink)


def _draw_panel(axes: Axes, grid: Grid, panel: Panel) -> None:
    axes.text(0, 0.1, panel.title, TEXT, fontsize=11, color=INK, weight="bold", clip_on=True)
    axes.text(0, 0.3, panel.subtitle, TEXT, fontsize=8, clip_on=True)
    for stage, name in enumerate(["trunk", *map(str, range(1, panel.topology.num_stages + 1)), "out"]):
        axes.text(grid.centre((stage, 0))[0], HEADER - NUMBERS, name, TEXT, ha="center")
    axes.text(0, HEADER - NUMBERS, "stride", TEXT)
    for path in ALL_PATHS:
        axes.text(0, grid.centre((0, path))[1], str(4 << path), TEXT)
    for line in lines(panel.topology):
        _draw_line(axes, grid, line)
    for block, state in box_states(panel.topology).items():
        _draw_box(axes, grid, block, state)
    if panel.probabilities is not None:
        _draw_heat(axes, grid, panel.probabilities)


def _draw_legend(figure: Figure, panels: Sequence[Panel], heat: bool) -> None:
    swatches = tuple(Patch(facecolor=colour) for colour in PATH_COLOURS)
    keys: dict[str, Any] = {"selected block": swatches, "skipped block": Patch(facecolor=GHOST)}
    if any(not line.used for panel in panels for line in lines(panel.topology)):
        keys["selected, but no output sees it"] = Patch(**STATE_STYLES["unused"])
    for colour, thickness, dashes, name in list(LINE_STYLES.values())[1:]:
        keys[name] = Line2D([], [], color=colour, linewidth=thickness, linestyle=dashes)
    figure.legend(list(keys.values()), list(keys), handler_map={tuple: HandlerTuple(None, pad=0)}, fontsize=8, **LEGEND)
    if heat:
        width, height = figure.get_size_inches()
        place = figure.add_axes((1 - (MARGIN + 2.1) / width, 0.31 / height, 2.1 / width, 0.11 / height))
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), cax=place, orientation="horizontal")
        place.spines["outline"].set_visible(False)
        bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1"], fontsize=7.5, color=GREY)
        place.tick_params(length=2, color=GREY, pad=2)
        place.set_title("probability that a block is selected", fontsize=8, pad=3)


def draw_topologies(path: str | Path, panels: Sequence[Panel]) -> None:
    """Draw panels (1 to 6, of 2 to 8 stages, read well) into a .png or .svg, atomically; equal panels give equal bytes.

    Raises:
        InputError: the suffix is another one, or the file cannot be written.
        ValueError: there are no panels.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise InputError(f"cannot draw {path}: the name of a picture must end in .png or .svg")
    if not panels:
        raise ValueError("there are no panels to draw")
    heat = any(panel.probabilities is not None for panel in panels)
    grid = Grid.fit(len(panels), max(panel.topology.num_stages for panel in panels), heat)
    (width, height), num_rows = grid.panel, math.ceil(len(panels) / grid.columns)
    total = MARGIN + num_rows * (height + GAP) - GAP + FOOTER
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, total), dpi=200, facecolor="white")
        for index, panel in enumerate(panels):
            row, column = divmod(index, grid.columns)
            x, y = MARGIN + column * (width + GAP), MARGIN + row * (height + GAP)
            axes = figure.add_axes((x / WIDTH, 1 - (y + height) / total, width / WIDTH, height / total))
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], frame_on=False)
            _draw_panel(axes, grid, panel)
        _draw_legend(figure, panels, heat)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None} if suffix == ".svg" else {"Software": None})
