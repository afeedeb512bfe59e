"""Topologies as they stand in a page: the drawing, how the probabilities moved, and a sign to recognise one by."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fbnetv5.archs.topology import ALL_PATHS, Topology
from fbnetv5.report.history import History
from fbnetv5.report.style import styled
from fbnetv5.report.svg import inline
from fbnetv5.report.task_look import TaskLook
from fbnetv5.report.topology_drawing import (
    BOX,
    Boxes,
    Cells,
    draw_box,
    draw_history,
    draw_topology,
    draw_worth,
    inch_axes,
)
from fbnetv5.report.topology_parts import box_states, described

WIDTH = 3.6  # in inches, of drawings that the page scales to their place
LABELS, RIGHT = 0.46, 0.06  # room for the strides, and beside the outputs
HEADER = 0.22  # room for the stages' numbers
ROW = 0.3  # from path to path
CELL = 0.4  # height of a block's history
PITCH, SQUARE = 0.156, 0.13  # of the sign: from square to square, and the side of one


@styled
def topology_svg(name: str, topology: Topology) -> Markup:
    """Draw a topology with the outputs it has."""
    figure = Figure(figsize=(WIDTH, HEADER + len(ALL_PATHS) * ROW))
    draw_topology(_bare_axes(figure), _boxes(topology.num_stages), topology)
    return inline(figure, described(name, topology))


@styled
def history_svg(history: History) -> Markup:
    """Draw each block's probability over time, in the columns of the topology."""
    figure = Figure(figsize=(WIDTH, HEADER + len(ALL_PATHS) * CELL + 0.01))
    draw_history(_bare_axes(figure), _cells(history.num_stages, CELL), history)
    first, last = history.records[0][0], history.last_step
    said = f"Probability that each block is selected for {history.task}, from step {first} to {last}"
    return inline(figure, said)


@styled
def worth_svg(task: str, num_stages: int, look: TaskLook) -> Markup:
    """Draw what each block is worth, with its error, in the columns of the topology."""
    figure = Figure(figsize=(WIDTH, HEADER + len(ALL_PATHS) * ROW + 0.01))
    draw_worth(_bare_axes(figure), _cells(num_stages, ROW), num_stages, look)
    return inline(figure, f"What each block is worth for {task}")


@styled
def fingerprint_svg(topology: Topology) -> Markup:
    """Draw the blocks alone, a square each."""
    figure = Figure(figsize=(topology.num_stages * PITCH, len(ALL_PATHS) * PITCH))
    boxes = Boxes((-PITCH / 2, PITCH / 2), (PITCH, PITCH), (SQUARE, SQUARE))
    axes = _bare_axes(figure)
    for block, state in box_states(topology).items():
        if 1 <= block[0] <= topology.num_stages:
            draw_box(axes, boxes, block, state)
    return inline(figure, "", "fingerprint")


def _boxes(num_stages: int) -> Boxes:
    return Boxes.at((LABELS, HEADER), ((WIDTH - LABELS - RIGHT) / (num_stages + 1 + BOX), ROW))


def _cells(num_stages: int, height: float) -> Cells:
    """Return the places of numbers of blocks, in the columns of the topology."""
    boxes = _boxes(num_stages)
    pitch = boxes.pitch[0]
    return Cells((boxes.centre((1, 0))[0] - pitch / 2, HEADER), (pitch, height))


def _bare_axes(figure: Figure) -> Axes:
    """Axes over the whole figure, on the ground of the page."""
    figure.patch.set_visible(False)
    return inch_axes(figure, (0.0, 0.0), tuple(figure.get_size_inches()))
