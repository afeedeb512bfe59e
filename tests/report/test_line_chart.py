from __future__ import annotations

import re

import pytest

from fbnetv5.report.line_chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MAX_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    line_chart,
    round_ticks,
    thinned,
)
from fbnetv5.report.svg import counted, element, plain, short


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0.3, 9.8, [0, 2.5, 5, 7.5, 10]),
        (5, 5, [0, 2.5, 5, 7.5, 10]),
        (-5, -5, [-10, -7.5, -5, -2.5, 0]),
        (0, 0, [0, 0.25, 0.5, 0.75, 1]),
        (-1, 3, [-1, 0, 1, 2, 3]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert round_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("low", [0, 1e-300, 1e-12, 0.7, 1e9, 1e99, -3, -1e50])
@pytest.mark.parametrize("span", [0, 1e-320, 1e-9, 0.1, 7.3, 1e20])
def test_ticks_span_the_values(low, span):
    ticks = round_ticks(low, low + span)
    tolerance = 1e-5 * (ticks[-1] - ticks[0])
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= low + span - tolerance
    assert 3 <= len(ticks) <= 7


def test_a_line_runs_from_corner_to_corner():
    svg = str(line_chart("loss", [(0, 0.0), (50, 1.0)]).svg)
    corners = f"{LEFT:g},{HEIGHT - BOTTOM:g} {WIDTH - RIGHT:g},{TOP:g}"
    assert re.search(r'points="([^"]*)"', svg)[1] == corners
    assert svg.count("<circle") == 2


def test_long_lines_are_thinned_to_the_means_of_their_parts():
    points = [(step, float(step % 2)) for step in range(100_000)]
    kept = thinned(points)
    assert len(kept) == MAX_POINTS
    assert kept[-1] == points[-1]
    assert all(value == pytest.approx(0.5, abs=0.01) for _, value in kept[:-1])
    assert thinned(points[:MAX_POINTS]) == points[:MAX_POINTS]


def test_what_happened_is_marked_where_it_lies_within():
    points = [(step, 1.0) for step in range(10, 101, 10)]
    assert "here" in line_chart("loss", points, mark=(50, "here")).svg
    for step in (0, 1, 100, 200):
        assert "here" not in line_chart("loss", points, mark=(step, "here")).svg


def test_numbers_are_for_people():
    assert [counted(n) for n in (0, 512, 999, 1000, 9_999, 84_899_040, 1.234e9, 3e12)] == [
        "0", "512", "999", "1.00 k", "10.0 k", "84.9 M", "1.23 G", "3.00 T",
    ]  # fmt: skip
    assert [plain(n) for n in (0.0, 0.1 + 0.2, 12.345, 1.97e-6, 3e9)] == ["0", "0.3", "12.3", "1.97e-6", "3e9"]
    assert [short(n) for n in (-0.04, -0.3, 2.0, 3.25, 7, "x")] == ["0", "-0.3", "2", "3.2", 7, "x"]


def test_elements_are_escaped():
    assert element("text", "<b>", x=1.0, stroke_width='"') == '<text x="1" stroke-width="&#34;">&lt;b&gt;</text>'
