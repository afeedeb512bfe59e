from __future__ import annotations

import pytest

from fbnetv5.report.line_chart import FEW, MAX_POINTS, line_chart, thinned, value_ticks
from fbnetv5.report.numbers import counted, plain


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (5, 5, [0, 2.5, 5, 7.5, 10]),
        (-5, -5, [-10, -7.5, -5, -2.5, 0]),
        (0, 0, [0, 0.25, 0.5, 0.75, 1]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert value_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("low", [0, 1e-300, 1e-12, 0.7, 1e9, 1e99, -3, -1e50])
@pytest.mark.parametrize("span", [0, 1e-320, 1e-9, 0.1, 7.3, 1e20])
def test_ticks_span_the_values(low, span):
    ticks = value_ticks(low, low + span)
    tolerance = 1e-5 * (ticks[-1] - ticks[0])
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= low + span - tolerance
    assert 3 <= len(ticks) <= 7


@pytest.mark.parametrize(("num", "dots"), [(1, 1), (FEW, FEW), (FEW + 1, 1)])
def test_few_records_are_dots_and_many_a_line_with_its_end(num, dots):
    svg = str(line_chart("loss", [(step, float(step % 3)) for step in range(num)]).svg)
    assert svg.count("<use") == dots


def test_a_chart_tells_its_axis_and_its_last_value():
    chart = line_chart("AP", [(10, 3.0), (40, 31.5)], unit=" %", low=0)
    assert (chart.title, chart.value) == ("AP", "31.5 %")
    assert all(f">{text}</text>" in chart.svg for text in ("0", "20", "40", "step 40"))
    assert 'role="img"' in chart.svg
    assert "<title>AP: from 3 % at step 10 to 31.5 % at step 40" in chart.svg


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
