"""Line charts of one metric over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from fbnetv5.report.svg import coordinates, drawing, element, plain

Points = Sequence[tuple[float, float]]  # (step, value), in the order of steps

WIDTH, HEIGHT = 340.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 12.0, 24.0  # margins of the plot
MAX_POINTS = 300  # of a line; more are averaged, so that the page stays small
FEW = 16  # records up to which each is marked with a dot
CLOSE = 4.0  # to the axis: a mark there would be taken for it
NEGLIGIBLE = 1e-100  # a range below this is none


@dataclass(frozen=True)
class Chart:
    """A line chart, and the title and the last value that stand above it."""

    title: str
    value: str
    svg: Markup


@dataclass(frozen=True)
class Frame:
    """The steps and values that a plot spans."""

    begin: float
    end: float
    ticks: Sequence[float]

    def x(self, step: float) -> float:
        """Return where a step lies."""
        return LEFT + (step - self.begin) / ((self.end - self.begin) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


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
    frame = Frame(min(points[0][0], 0), points[-1][0], round_ticks(min(bounds), max(bounds)))
    places = [(frame.x(step), frame.y(value)) for step, value in thinned(points)]
    dots = [element("circle", class_="dot", cx=x, cy=y, r=2.5) for x, y in places[-1 if len(points) > FEW else 0 :]]
    line = element("polyline", class_="line", points=coordinates(places))
    parts = [*_rows(frame), *_steps(frame), *_mark(frame, mark), line, *dots]
    return Chart(title, plain(values[-1]) + unit, drawing(_said(title, points, unit), WIDTH, HEIGHT, *parts))


def thinned(points: Points, most: int = MAX_POINTS) -> Points:
    """Return ``points``, or where they are more than ``most`` the means of equal parts and then the last one."""
    if len(points) <= most:
        return points
    borders = [round(part * len(points) / (most - 1)) for part in range(most)]
    parts = [points[start:stop] for start, stop in pairwise(borders)]
    means = [(sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part)) for part in parts]
    return [*means, points[-1]]


def round_ticks(low: float, high: float) -> list[float]:
    """Return three to six evenly spaced round numbers, from at most ``low`` to at least ``high``."""
    if high - low <= max(NEGLIGIBLE, 1e-9 * max(abs(low), abs(high))):
        low, high = (0.0, 2 * high) if high > NEGLIGIBLE else (2 * low, 0.0) if low < -NEGLIGIBLE else (0.0, 1.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [index * step for index in range(first, last + 1)]


def _said(title: str, points: Points, unit: str) -> str:
    """What a chart shows, in words."""
    (first, start), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"{title}: {plain(end)}{unit} at step {first:g}"
    lowest, highest = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
    return (
        f"{title}: from {plain(start)}{unit} at step {first:g} to {plain(end)}{unit} at step {last:g}; lowest "
        f"{plain(lowest[1])}{unit} at step {lowest[0]:g}, highest {plain(highest[1])}{unit} at step {highest[0]:g}"
    )


def _rows(frame: Frame) -> list[Markup]:
    rows = []
    for tick in frame.ticks:
        y = frame.y(tick)
        rows.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        rows.append(element("text", plain(tick), class_="tick", x=LEFT - 6, y=y + 3.5, text_anchor="end"))
    return rows


def _steps(frame: Frame) -> list[Markup]:
    begin, end, names = frame.begin, frame.end, []
    shown = [(begin, "start"), ((begin + end) / 2, "middle"), (end, "end")] if end > begin else [(end, "start")]
    for step, anchor in shown:
        if step == int(step):
            name = f"step {step:,.0f}" if step == end else f"{step:,.0f}"
            names.append(element("text", name, class_="tick", x=frame.x(step), y=HEIGHT - 7, text_anchor=anchor))
    return names


def _mark(frame: Frame, mark: tuple[float, str] | None) -> list[Markup]:
    if mark is None or not frame.x(frame.begin) + CLOSE < frame.x(mark[0]) < frame.x(frame.end):
        return []
    x = frame.x(mark[0])
    anchor, shift = ("start", 5.0) if x < WIDTH / 2 else ("end", -5.0)
    return [
        element("line", class_="mark", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM),
        element("text", mark[1], class_="tick", x=x + shift, y=HEIGHT - BOTTOM - 6, text_anchor=anchor),
    ]
