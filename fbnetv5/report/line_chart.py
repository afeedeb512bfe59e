"""Line charts of one metric over the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fbnetv5.report.numbers import plain
from fbnetv5.report.style import GREY, SELECT, styled
from fbnetv5.report.svg import inline

Points = Sequence[tuple[float, float]]  # (step, value), in the order of steps

SIZE = (3.0, 1.55)  # in inches, of a drawing that the page scales to its place
PLOT = (0.195, 0.14, 0.765, 0.8)  # of it: left, bottom, width, height
MAX_POINTS = 300  # of a line; more are averaged, so that the page stays small
FEW = 16  # records up to which each is marked with a dot
CLOSE = 0.02  # of the steps: a mark that near to the axis would be taken for it
NEGLIGIBLE = 1e-100  # a range below this is none
TICKS = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])


@dataclass(frozen=True)
class Chart:
    """A line chart, and the title and the last value that stand above it."""

    title: str
    value: str
    svg: Markup


@styled
def line_chart(
    title: str,
    points: Points,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    mark: tuple[float, str] | None = None,
) -> Chart:
    """Draw ``points``, at least one.

    Args:
        title: what is drawn.
        points: finite.
        unit: of the values, with a space before it where it wants one.
        low, high: what the axis spans at least; by default the values.
        mark: a step and what happened there; not drawn at the first step or outside of the steps.
    """
    values = [value for _, value in points]
    bounds = [*values, *(bound for bound in (low, high) if bound is not None)]
    figure = Figure(figsize=SIZE)
    figure.patch.set_visible(False)
    axes = figure.add_axes(PLOT, frame_on=False)
    (line,) = axes.plot(*zip(*thinned(points), strict=True), color=SELECT, linewidth=1.3, clip_on=False)
    line.set(marker="o", markersize=3, markeredgewidth=0, markevery=None if len(points) <= FEW else [-1])
    _draw_axes(axes, min(points[0][0], 0), points[-1][0], value_ticks(min(bounds), max(bounds)))
    if mark is not None:
        _draw_mark(axes, *mark)
    return Chart(title, plain(values[-1]) + unit, inline(figure, _said(title, points, unit)))


def thinned(points: Points, most: int = MAX_POINTS) -> Points:
    """Return ``points``, or where they are more than ``most`` the means of equal parts and then the last one."""
    if len(points) <= most:
        return points
    borders = [round(part * len(points) / (most - 1)) for part in range(most)]
    parts = [points[start:stop] for start, stop in pairwise(borders)]
    means = [(sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part)) for part in parts]
    return [*means, points[-1]]


def value_ticks(low: float, high: float) -> list[float]:
    """Return evenly spaced round numbers, from at most ``low`` to at least ``high``; around one value, from 0."""
    if high - low <= max(NEGLIGIBLE, 1e-9 * max(abs(low), abs(high))):
        low, high = (min(0.0, 2 * low), max(0.0, 2 * high)) if abs(high) > NEGLIGIBLE else (0.0, 1.0)
    return [float(tick) for tick in TICKS.tick_values(low, high)]


def _said(title: str, points: Points, unit: str) -> str:
    """A chart in words."""
    (first, start), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"{title}: {plain(end)}{unit} at step {first:g}"
    lowest, highest = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
    return (
        f"{title}: from {plain(start)}{unit} at step {first:g} to {plain(end)}{unit} at step {last:g}; lowest "
        f"{plain(lowest[1])}{unit} at step {lowest[0]:g}, highest {plain(highest[1])}{unit} at step {highest[0]:g}"
    )


def _draw_axes(axes: Axes, begin: float, end: float, ticks: Sequence[float]) -> None:
    axes.set(xlim=(begin, end if end > begin else begin + 1), ylim=(ticks[0], ticks[-1]))
    axes.set_yticks(ticks, [plain(tick) for tick in ticks])
    sides: dict[float, Literal["left", "center", "right"]] = {end: "left"}
    if end > begin:
        sides = {begin: "left", (begin + end) / 2: "center", end: "right"}
    steps = [step for step in sides if step == int(step)]
    axes.set_xticks(steps, [f"step {step:,.0f}" if step == end else f"{step:,.0f}" for step in steps])
    axes.tick_params(length=0, pad=4)
    axes.grid(axis="y", linewidth=0.75, clip_on=False)
    for step, label in zip(steps, axes.get_xticklabels(), strict=True):
        label.set_horizontalalignment(sides[step])


def _draw_mark(axes: Axes, step: float, happened: str) -> None:
    """A dashed line where something happened, unless it lies at the first step or outside of the steps."""
    begin, end = axes.get_xlim()
    share = (step - begin) / (end - begin)
    if not CLOSE < share < 1:
        return
    axes.axvline(step, color=GREY, linewidth=0.75, linestyle=(0, (3, 3)), clip_on=False)
    side, shift = ("left", 3.5) if share < 0.5 else ("right", -3.5)
    foot = axes.annotate(
        happened, (step, 0), (shift, 4), xycoords=("data", "axes fraction"), textcoords="offset points"
    )
    foot.set(color=GREY, horizontalalignment=side)
