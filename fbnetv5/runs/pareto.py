"""Scores against costs: which runs nothing else beats, and a picture of them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fbnetv5.report.style import GREY, INK, SELECT, styled
from fbnetv5.report.svg import inline

Point = tuple[float | None, float | None]
MAX_LABELS = 8  # points; beyond that, only the front is labelled
UNITS = {"macs": (1e6, "MACs, millions"), "params": (1e6, "parameters, millions"), "latency_ms": (1.0, "latency, ms")}


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other one dominates, by cost, then by index.

    Args:
        points: (cost, score): a lower cost and a higher score are better. One that has a None or NaN is on no front.

    Returns:
        indices into ``points``. A point dominates another if it is no worse in both and better in one, so points that
        are equal are on the front together.
    """
    valid = [index for index, point in enumerate(points) if not any(v is None or math.isnan(v) for v in point)]
    ordered = sorted(valid, key=lambda index: (points[index][0], -(points[index][1] or 0.0), index))
    front: list[int] = []
    for index in ordered:
        best = points[front[-1]] if front else (None, -math.inf)
        if points[index] == best or not front or (points[index][1] or 0.0) > (best[1] or 0.0):
            front.append(index)
    return front


@dataclass(frozen=True)
class Series:
    """What one panel shows: a point a run, (cost, value) with the value as it is shown, and each point's label.

    The points ``drawn`` are of topologies drawn by hand: diamonds, which are labelled wherever they lie.
    """

    title: str
    score: str  # the name of the value
    points: Sequence[Point]
    labels: Sequence[str]
    front: Sequence[int]
    drawn: Sequence[int] = ()


@styled
def draw_fronts(series: Sequence[Series], x: str) -> str:
    """Draw a panel a series, side by side, with the front as a step line; return it as an svg element."""
    figure = Figure(figsize=(max(5.0, 4.2 * len(series)), 3.6), layout="constrained")
    panels = figure.subplots(1, len(series), squeeze=False)[0]
    for axes, one in zip(panels, series, strict=True):
        _draw(axes, one, x)
    scores = ", ".join(dict.fromkeys(one.score for one in series))
    return str(inline(figure, f"{scores} of runs against {_unit(x)[1]}"))


def _unit(x: str) -> tuple[float, str]:
    """Return what a cost is divided by, and the name of its axis: for times of files, that of their column."""
    return UNITS.get(x, (1.0, textwrap.fill(x, 60)))


def _draw(axes: Axes, series: Series, x: str) -> None:
    scale, name = _unit(x)
    places = {i: (c / scale, v) for i, (c, v) in enumerate(series.points) if c is not None and v is not None}
    front = [places[index] for index in series.front]
    axes.step([p[0] for p in front], [p[1] for p in front], where="post", color=SELECT, linewidth=1.2, zorder=1)
    for index, place in places.items():
        on_front, marker = index in series.front, "D" if index in series.drawn else "o"
        filling, line = (SELECT, SELECT) if on_front else ("white", GREY)
        axes.scatter(*place, s=24, facecolor=filling, edgecolor=line, marker=marker, zorder=3 if on_front else 2)
        if len(places) <= MAX_LABELS or on_front or index in series.drawn:
            colour = INK if index in series.front else GREY
            right = place[0] > (min(p[0] for p in places.values()) + max(p[0] for p in places.values())) / 2
            above = 5 if index in series.front else -10  # so that two points at one height keep their labels apart
            offset, side = ((-5, above), "right") if right else ((5, above), "left")
            axes.annotate(
                series.labels[index], place, offset, textcoords="offset points", ha=side, fontsize=7, color=colour
            )
    axes.set_title(series.title, fontsize=10, weight="bold")
    axes.set(xlabel=name, ylabel=series.score)
    axes.margins(0.12, 0.16)
    axes.grid()
