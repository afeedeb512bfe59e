"""Topologies as small inline SVG in the page's colours, and below each block how its probability moved.

What is drawn, box by box and line by line, is that of :mod:`fbnetv5.report.draw`; stages stand above one another.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from fbnetv5.archs.topology import ALL_PATHS, Block, Topology
from fbnetv5.report.draw import Line, State, box_states, lines
from fbnetv5.report.history import History
from fbnetv5.report.svg import coordinates, drawing, element

WIDTH = 420.0
LABELS = 26.0  # room for the strides
ROW = 34.0  # from path to path
HEADER = 24.0
BOX = 18.0  # height of a box
CELL = 46.0  # height of a block's history
SPARK = 26.0  # of which the line takes this
SPARK_POINTS = 48


@dataclass(frozen=True)
class Columns:
    """The columns of a drawing: the trunk, S stages, and the outputs."""

    num_stages: int

    @property
    def pitch(self) -> float:
        """From one column to the next."""
        return (WIDTH - LABELS) / (self.num_stages + 2)

    def x(self, stage: int) -> float:
        """Return the middle of a column."""
        return LABELS + (stage + 0.5) * self.pitch

    @property
    def box(self) -> float:
        """Width of a box."""
        return min(30.0, 0.46 * self.pitch)


def topology_svg(name: str, topology: Topology) -> Markup:
    """Draw a topology with the outputs it has; what they do not see is hatched."""
    columns = Columns(topology.num_stages)
    middles = [columns.x(stage) for stage in range(topology.num_stages + 2)]
    titles = ["trunk", *map(str, range(1, topology.num_stages + 1)), "out"]
    header = [_text(title, x, 12.0) for title, x in zip(titles, middles, strict=True)]
    strides = [_text(str(4 << path), 0.0, _y(path) + 4, anchor="start") for path in ALL_PATHS]
    drawn = sorted(lines(topology), key=lambda line: (line.used, line.kind in ("path", "trunk")))
    edges = [_edge(columns, line) for line in drawn]
    boxes = [_box(columns, block, state) for block, state in box_states(topology).items()]
    height = HEADER + len(ALL_PATHS) * ROW
    return drawing(described(name, topology), WIDTH, height, *header, *strides, *edges, *boxes, class_="topology")


def described(name: str, topology: Topology) -> str:
    """Say which blocks a topology has."""
    rows = []
    for path in ALL_PATHS:
        stages = [str(stage) for stage, other in sorted(topology.blocks) if other == path]
        rows.append(f"stride {4 << path}: {'stages ' + ', '.join(stages) if stages else 'none'}")
    return f"Blocks selected for {name}. {'; '.join(rows)}."


def history_svg(history: History) -> Markup:
    """Draw each block's probability over time, in the columns of the topology, with the latest in figures."""
    columns = Columns(history.num_stages)
    strides = [_text(str(4 << path), 0.0, path * CELL + SPARK / 2 + 4, anchor="start") for path in ALL_PATHS]
    count = len(history.records)
    kept = sorted({round(k * (count - 1) / (SPARK_POINTS - 1)) for k in range(SPARK_POINTS)})
    steps = [history.records[index][0] for index in kept]
    cells = []
    for slot, last in enumerate(history.last):
        values = [history.records[index][1][slot] for index in kept]
        cells.append(_cell(columns, (1 + slot // 4, slot % 4), steps, values, last))
    title = f"Probability that each block is selected for {history.task}, from step {steps[0]} to {steps[-1]}"
    return drawing(title, WIDTH, len(ALL_PATHS) * CELL, *strides, *cells, class_="history")


def fingerprint_svg(topology: Topology) -> Markup:
    """Draw the blocks alone, a square each: the topology as a sign to recognise it by."""
    states, pitch = box_states(topology), 15.0
    squares = [
        element(
            "rect", class_=f"{state} path{path}", x=(stage - 1) * pitch, y=path * pitch, width=12.5, height=12.5, rx=3
        )
        for (stage, path), state in states.items()
        if 1 <= stage <= topology.num_stages
    ]
    width, height = topology.num_stages * pitch - 2.5, len(ALL_PATHS) * pitch - 2.5
    box = f"0 0 {width:.1f} {height:.1f}"
    return element("svg", *squares, class_="fingerprint", viewBox=box, width=width, height=height, aria_hidden="true")


def _y(path: int) -> float:
    return HEADER + (path + 0.5) * ROW


def _text(text: str, x: float, y: float, anchor: str = "middle", class_: str = "tick") -> Markup:
    return element("text", text, class_=class_, x=x, y=y, text_anchor=anchor)


def _edge(columns: Columns, line: Line) -> Markup:
    (stage0, path0), (stage1, path1) = line.edge.source, line.edge.target
    x0, x1, y0, y1 = columns.x(stage0), columns.x(stage1), _y(path0), _y(path1)
    class_ = f"edge {line.kind}" if line.used else f"edge {line.kind} idle"
    if line.kind == "trunk":
        return element("path", class_=class_, d=f"M{x0:.1f} {y0 + BOX / 2:.1f}V{y1 - BOX / 2:.1f}")
    lean = BOX * {"path": 0.0, "down": 0.27, "up": -0.27}[line.kind]
    x0, x1, y0, y1 = x0 + columns.box / 2, x1 - columns.box / 2, y0 + lean, y1 - lean
    near, far = 0.6 * x0 + 0.4 * x1, 0.4 * x0 + 0.6 * x1
    return element(
        "path", class_=class_, d=f"M{x0:.1f} {y0:.1f}C{near:.1f} {y0:.1f} {far:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    )


def _box(columns: Columns, block: Block, state: State) -> Markup:
    stage, path = block
    x, y, width = columns.x(stage) - columns.box / 2, _y(path) - BOX / 2, columns.box
    return element("rect", class_=f"{state} path{path}", x=x, y=y, width=width, height=BOX, rx=4)


def _cell(columns: Columns, block: Block, steps: list[int], values: list[float], last: float) -> Markup:
    stage, path = block
    width = columns.pitch - 4
    left, top = columns.x(stage) - width / 2, path * CELL + 1
    span = (steps[-1] - steps[0]) or 1
    places = [
        (left + 1 + (width - 2) * (step - steps[0]) / span, top + 1 + (SPARK - 2) * (1 - value))
        for step, value in zip(steps, values, strict=True)
    ]
    places = [(left + 1, places[0][1]), (left + width - 1, places[0][1])] if len(places) == 1 else places
    side, strength = "selected" if last > 0.5 else "skipped", f"{0.06 + 0.6 * abs(last - 0.5):.2f}"
    parts = [
        element("rect", class_="ground", x=left, y=top, width=width, height=SPARK, rx=3, fill_opacity=strength),
        element("line", class_="half", x1=left, x2=left + width, y1=top + SPARK / 2, y2=top + SPARK / 2),
        element("polyline", points=coordinates(places)),
        _text(f"{last:.2f}", columns.x(stage), top + SPARK + 11, class_="figure"),
    ]
    return element("g", *parts, class_=side)
