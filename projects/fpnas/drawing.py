"""Pictures of architectures, in the manner of the paper's Fig. 5: blocks in a row, inside each its graph.

    python -m projects.fpnas.drawing architecture.yaml drawing.svg

Time flows downwards. A block's drawing is in units of its frame: x from 0 (left) to 1, y from 0 (its input) to 1.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from fbnetv5.base.errors import one_line_errors
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.space import BlockType, Half, Position
from fbnetv5.report.style import DOWN, GREY, INK, SELECT, UP, save, styled

NodeKind = Literal["input", "output", "add", "concat", "split", "conv"]

COLUMNS = 8  # blocks in a row of the picture
PANEL = (1.25, 2.3)  # inches of a block
HEADER = 0.35  # inches above the blocks
FRAME = (0.06, 0.05, 0.88, 0.76)  # of a block's drawing in its panel: left, bottom, width, height
MIDDLE, BESIDE, LANE, OUTER_LANE = 0.5, 0.33, 0.72, 0.92  # x: of vertices, of an MBConv and an identity side by side
TOPOLOGY_COLOURS = {
    "identity": "#f4f5f7",
    "conv": "#e4e7eb",
    "add": "#d9ecff",
    "split-concat": "#dff3e4",
    "split-add-concat": "#fdeecb",
    "split-cross-concat": "#fbdfe6",
}
NODE_COLOURS = {"conv": "#3f7cac", "add": "#ffffff", "concat": "#ffffff", "split": "#ffffff"}
HEIGHTS = {0: (), 1: (0.8,), 2: (0.12, 0.88), 3: (0.1, 0.6, 0.9)}  # y of vertices, by how many do something
LABELS = {"add": "+", "concat": "concat", "split": "split"}
HALF_COLOURS: dict[Half, str] = {"all": INK, "left": SELECT, "right": UP}


class Node(NamedTuple):
    """Something that is drawn at a place: a vertex that does something, an MBConv, or an end of the block."""

    kind: NodeKind
    label: str
    x: float
    y: float


class Line(NamedTuple):
    """A line between nodes, by their numbers, for a half of the channels or all; it swings to x = ``lane``."""

    source: int
    target: int
    half: Half = "all"
    lane: float | None = None


@dataclass(frozen=True)
class BlockDrawing:
    """The drawing of a block: its input, its vertices, its output, its MBConv; and the lines between them."""

    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]


def block_drawing(chosen: BlockType) -> BlockDrawing:
    """Turn a block's graph into its drawing.

    A vertex that only passes a value on is not drawn: its lines go on to the end of the block. An MBConv stands on its
    edge. Of edges between the same vertices the identity swings to the right; one that skips a vertex, more so.
    """
    graph = chosen.graph
    last = len(graph.vertices) - 1
    working = [index for index, operation in enumerate(graph.vertices) if operation != "identity"]
    nodes = [Node("input", "", MIDDLE, 0.0)]
    place = {}  # of a vertex: its node
    for index, height in zip(working, HEIGHTS[len(working)], strict=True):
        place[index] = len(nodes)
        kind: NodeKind = graph.vertices[index]  # type: ignore[assignment]  # identity is left out
        nodes.append(Node(kind, LABELS[kind], MIDDLE, height))
    output = len(nodes)
    nodes.append(Node("output", "", MIDDLE, 1.0))
    sources, targets = {0: 0, **place}, {last: output, **place}
    lines = [Line(0, place[0])] if 0 in place else []
    between = Counter((edge.source, edge.target) for edge in graph.edges)
    for edge in graph.edges:
        source, target = sources[edge.source], targets[edge.target]
        alone = between[edge.source, edge.target] == 1
        if edge.operation == "conv":
            label = f"MBConv{chosen.expansion}\n{chosen.kernel}x{chosen.kernel}"
            nodes.append(Node("conv", label, MIDDLE if alone else BESIDE, (nodes[source].y + nodes[target].y) / 2))
            lines += [Line(source, len(nodes) - 1, edge.half), Line(len(nodes) - 1, target, edge.half)]
        elif not alone:
            lines.append(Line(source, target, edge.half, LANE))
        else:
            lines.append(Line(source, target, edge.half, OUTER_LANE if edge.target > edge.source + 1 else None))
    if last in place or last == 0:
        lines.append(Line(sources[last], output))
    return BlockDrawing(tuple(nodes), tuple(lines))


@styled
def draw_architecture(architecture: Architecture, path: Path, *, title: str = "") -> None:
    """Draw an architecture; the suffix of ``path`` (.svg, .png, .pdf) chooses the format.

    Raises:
        InputError: the format is unknown, or the file cannot be written.
    """
    count = len(architecture.types)
    rows, columns = math.ceil(count / COLUMNS), min(count, COLUMNS)
    width, height = columns * PANEL[0], rows * PANEL[1] + HEADER
    figure = Figure(figsize=(width, height))
    line: dict[str, Any] = {"y": 1 - 0.22 / height, "fontsize": 10}
    figure.text(0.01, s=title, weight="bold", **line)
    figure.text(0.99, s="right half", ha="right", color=HALF_COLOURS["right"], **line)
    figure.text(0.99 - 0.9 / width, s="left half", ha="right", color=HALF_COLOURS["left"], **line)
    for number, (chosen, position) in enumerate(zip(architecture.types, architecture.macro.positions, strict=True)):
        row, column = divmod(number, COLUMNS)
        bottom = (height - HEADER - (row + 1) * PANEL[1]) / height
        axes = figure.add_axes((column / columns, bottom, 1 / columns, PANEL[1] / height))
        _draw_block(axes, number + 1, chosen, position)
    save(figure, path)


def _draw_block(axes: Axes, number: int, chosen: BlockType, position: Position) -> None:
    """Draw one block in its panel, with its number, channels and stride above it."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    left, bottom, width, height = FRAME
    colour = TOPOLOGY_COLOURS[chosen.topology]
    box = "round,pad=0,rounding_size=0.04"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=box, fc=colour, ec=DOWN, lw=0.6))
    stride = f", stride {position.stride}" if position.stride > 1 else ""
    axes.text(0.5, 0.945, f"block {number}", ha="center", va="center", fontsize=7.5, weight="bold")
    caption = f"{position.in_channels} → {position.out_channels}{stride}"
    axes.text(0.5, 0.875, caption, ha="center", va="center", fontsize=6.5, color=GREY)
    drawing = block_drawing(chosen)
    points = [(left + node.x * width, bottom + height * (1 - node.y)) for node in drawing.nodes]
    for line in drawing.lines:
        (x0, y0), (x1, y1) = points[line.source], points[line.target]
        lane = (x0 + x1) / 2 if line.lane is None else left + line.lane * width
        swing = (lane - (x0 + x1) / 8) / 0.75  # x of both controls of the curve whose middle lies on the lane
        corners = [(x0, y0), (swing, y0 + (y1 - y0) / 3), (swing, y0 + (y1 - y0) * 2 / 3), (x1, y1)]
        curve = Curve(corners, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        axes.add_patch(PathPatch(curve, fill=False, ec=HALF_COLOURS[line.half], lw=1.0, zorder=1))
    for node, (x, y) in zip(drawing.nodes, points, strict=True):
        if node.kind in NODE_COLOURS:
            text_colour = "white" if node.kind == "conv" else INK
            frame = {"boxstyle": "round,pad=0.25", "fc": NODE_COLOURS[node.kind], "ec": INK, "lw": 0.6}
            axes.text(x, y, node.label, ha="center", va="center", fontsize=6, color=text_colour, bbox=frame)


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", help="YAML file that a search wrote")
    parser.add_argument("output", type=Path, help="picture to write: .svg, .png or .pdf")
    parser.add_argument("--title", default="", help="above the blocks")
    options = parser.parse_args(arguments)
    draw_architecture(Architecture.load(options.architecture), options.output, title=options.title)


if __name__ == "__main__":
    main()
