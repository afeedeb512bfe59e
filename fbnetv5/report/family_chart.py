"""The curve of a task's family: what topologies gain against what they cost, and each one's drawing and command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from fbnetv5.base.run_files import topology_file
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.config.write import typed_path
from fbnetv5.report.line_chart import value_ticks
from fbnetv5.report.numbers import counted, plain
from fbnetv5.report.style import GREY, SELECT, styled
from fbnetv5.report.svg import inline
from fbnetv5.report.task_family import DERIVED, Member, TaskFamily
from fbnetv5.report.topology_svg import topology_svg

SIZE = (5.2, 3.0)  # in inches, of a drawing that the page scales to its place
PLOT = (0.09, 0.15, 0.86, 0.78)  # of it: left, bottom, width, height
ROOM = 0.04  # of the axis, beside the cheapest and the dearest
TRAINING = "CONFIG.yaml"  # of the user's


@dataclass(frozen=True)
class Dot:
    """A topology on the chart.

    Attributes:
        left, top: its place, in % of the drawing.
        kind: ``member``, ``derived`` or ``other``.
        title, numbers: that stand beside its drawing.
        picture: of the topology.
        command: that trains it; empty where it has no file.
    """

    left: float
    top: float
    kind: str
    title: str
    numbers: str
    picture: Markup
    command: str


@dataclass(frozen=True)
class FamilyChart:
    """The chart of a task: its axes and its curve, the dots on it, and the command that trains and times all."""

    task: str
    svg: Markup
    dots: Sequence[Dot]
    command: str


def family_chart(family: TaskFamily, run: Path) -> FamilyChart:
    """Draw the curve of a family; the commands name files below the folder ``run``."""
    every = [*family.members, *family.others]
    costs, gains = [_cost(family, member) for member in every], [member.gain for member in every]
    room = ROOM * (max(costs) - min(costs) or 1.0)
    span = (min(costs) - room, max(costs) + room)
    ticks = value_ticks(min(gains), max(gains))
    dots = [
        _dot(family, member, run, (cost - span[0]) / (span[1] - span[0]), (gain - ticks[0]) / (ticks[-1] - ticks[0]))
        for member, cost, gain in zip(every, costs, gains, strict=True)
    ]
    every_point = f"fbnetv5 curve {TRAINING} {_start(run, topology_file(family.task))}"
    return FamilyChart(family.task, _curve(family, span, ticks), dots, every_point)


@styled
def _curve(family: TaskFamily, span: tuple[float, float], ticks: Sequence[float]) -> Markup:
    """Draw the axes, and a line through the members."""
    figure = Figure(figsize=SIZE)
    figure.patch.set_visible(False)
    axes = figure.add_axes(PLOT, frame_on=False)
    points = sorted((_cost(family, member), member.gain) for member in family.members)
    axes.plot(*zip(*points, strict=True), color=SELECT, linewidth=1.3)
    for member in family.others:
        place = _cost(family, member), member.gain
        label = axes.annotate(member.name, place, (0, -9), textcoords="offset points", ha="center", va="top")
        label.set(color=GREY, fontsize=7)
    axes.set(xlim=span, ylim=(ticks[0], ticks[-1]))
    axes.set_yticks(ticks, [plain(tick) for tick in ticks])
    marks = [tick for tick in value_ticks(*span) if span[0] <= tick <= span[1]]
    axes.set_xticks(marks, [_said_cost(family, tick, last=tick == marks[-1]) for tick in marks])
    axes.tick_params(length=0, pad=4)
    axes.grid(axis="y", linewidth=0.75)
    return inline(figure, f"{family.task}: gain in deviations over the trunk alone, against {_unit(family)}")


def _dot(family: TaskFamily, member: Member, run: Path, across: float, up: float) -> Dot:
    left, bottom, width, height = PLOT
    cost = f"{counted(member.macs)} MACs, {counted(member.params)} parameters"
    latency = "" if member.latency_ms is None else f", {plain(member.latency_ms)} ms"
    seen = len(member.seen.blocks)
    is_derived = member.name == DERIVED
    file = topology_file(family.task) if is_derived else member.file
    kind = DERIVED if is_derived else "member" if member.file else "other"
    return Dot(
        left=round(100 * (left + width * across), 2),
        top=round(100 * (1 - bottom - height * up), 2),
        kind=kind,
        title=f"{family.task}: {member.name}",
        numbers=f"gains {plain(member.gain)}; {seen} blocks seen, {cost}{latency}",
        picture=topology_svg(member.name, member.topology),
        command=_command(run, file) if file else "",
    )


def _command(run: Path, file: str) -> str:
    """Return the command that trains a topology from the supernet's weights."""
    output = typed_path("output", f"{run}_{Path(file).with_suffix('').as_posix().replace('/', '_')}")
    return f"fbnetv5 train {TRAINING} {_start(run, file)} {output}"


def _start(run: Path, file: str) -> str:
    return f"{typed_path('model.topology', run / file)} {typed_path('model.weights', run / WEIGHTS)}"


def _cost(family: TaskFamily, member: Member) -> float:
    """Return the cost that a topology is drawn at: milliseconds where all have them, else parameters or MACs."""
    if family.is_timed and member.latency_ms is not None:
        return member.latency_ms
    return float(member.params if family.unit == "params" else member.macs)


def _unit(family: TaskFamily) -> str:
    """Return what topologies cost, as a reader calls it."""
    if family.is_timed:
        return "milliseconds, without head"
    return "parameters" if family.unit == "params" else "MACs"


def _said_cost(family: TaskFamily, cost: float, *, last: bool) -> str:
    shown, unit = (plain(cost), "ms") if family.is_timed else (f"{cost / 1e6:g} M", _unit(family))
    return f"{shown} {unit}" if last else shown
