"""Files with pictures of topologies side by side, with heat maps of the probabilities they came from.

Lengths are in inches; the figure is 9 wide, so that text of 7 points and more reads well at 900 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fbnetv5.archs.topology import ALL_PATHS, Topology
from fbnetv5.report.style import GHOST, GREY, INK, PATH_COLOURS, save, styled
from fbnetv5.report.topology_drawing import (
    BOX,
    HEAT,
    LINE_STYLES,
    STATE_STYLES,
    TEXT,
    Boxes,
    Cells,
    draw_probabilities,
    draw_topology,
    inch_axes,
)
from fbnetv5.report.topology_parts import lines

WIDTH = 9.0  # of the figure
MARGIN = 0.15
GAP = 0.28  # between panels, and between a topology and its heat map
HEADER = 0.62  # room for title, subtitle and the stages' numbers, above a grid
FOOTER = 0.72  # room for the legend
LABELS = 0.46  # room for the strides, left of the trunk
LEGEND: dict[str, Any] = {"loc": "lower left", "ncols": 3, "borderpad": 0, "borderaxespad": 1.35}


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


@dataclass(frozen=True)
class Grid:
    """Where things are."""

    columns: int  # panels side by side
    panel: tuple[float, float]  # width and height
    boxes: Boxes  # from the panel's upper left, as are the cells
    cells: Cells

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
            boxes = Boxes.at((LABELS, HEADER), (pitch, rows))
            cells = Cells((LABELS + num_pitches * pitch + GAP, HEADER), (cell, rows))
            return cls(1, (width, HEADER + len(ALL_PATHS) * rows), boxes, cells)
        boxes = Boxes.at((LABELS, HEADER), ((width - LABELS) / num_pitches, 0.42))
        cell, bottom = min(0.6, boxes.pitch[0]), HEADER + len(ALL_PATHS) * boxes.pitch[1]
        cells = Cells((boxes.centre((1, 0))[0] - cell / 2, bottom + 0.34), (cell, 0.24))
        height = cells.corner[1] + len(ALL_PATHS) * cells.size[1] if heat else bottom
        return cls(columns, (width, height), boxes, cells)


@styled
def draw_topologies(path: str | Path, panels: Sequence[Panel]) -> None:
    """Draw panels (1 to 6, of 2 to 8 stages, read well) into a .png, .svg or .pdf, atomically.

    Raises:
        InputError: the suffix is another one, or the file cannot be written.
        ValueError: there are no panels.
    """
    if not panels:
        raise ValueError("there are no panels to draw")
    heat = any(panel.probabilities is not None for panel in panels)
    grid = Grid.fit(len(panels), max(panel.topology.num_stages for panel in panels), heat)
    (width, height), num_rows = grid.panel, math.ceil(len(panels) / grid.columns)
    figure = Figure(figsize=(WIDTH, MARGIN + num_rows * (height + GAP) - GAP + FOOTER))
    for index, panel in enumerate(panels):
        row, column = divmod(index, grid.columns)
        corner = (MARGIN + column * (width + GAP), MARGIN + row * (height + GAP))
        _draw_panel(inch_axes(figure, corner, grid.panel), grid, panel)
    _draw_legend(figure, panels, heat)
    save(figure, path)


def _draw_panel(axes: Axes, grid: Grid, panel: Panel) -> None:
    axes.text(0, 0.1, panel.title, TEXT, fontsize=11, color=INK, weight="bold", clip_on=True)
    axes.text(0, 0.3, panel.subtitle, TEXT, fontsize=8, clip_on=True)
    draw_topology(axes, grid.boxes, panel.topology)
    if panel.probabilities is not None:
        draw_probabilities(axes, grid.cells, panel.probabilities, strides=grid.columns > 1)


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
        place.set_title("probability that a block is selected", fontsize=8, pad=3, loc="center")
