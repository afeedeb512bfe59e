from __future__ import annotations

import re
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fbnetv5.report import style
from fbnetv5.report.html import TEMPLATES
from fbnetv5.report.svg import VARIABLES, inline


@style.styled
def figure(text: str = "a < b & $c$") -> Figure:
    drawn = Figure(figsize=(3, 1.5))
    drawn.add_axes((0, 0, 1, 1)).plot([0, 1], [0, 1], color=style.UP, marker="o")
    drawn.text(0.5, 0.5, text, color="#123456")
    return drawn


def test_a_figure_takes_its_colours_from_the_page():
    svg = inline(figure(), "said")
    assert f"stroke:var(--up,{style.UP})" in svg
    assert "fill:#123456" in svg
    sheet = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    assert set(VARIABLES.values()) | {"font"} <= set(re.findall(r"--(\w+):", sheet))


def test_text_is_text_and_escaped():
    svg = inline(figure(), 'what "is" <said>')
    assert ">a &lt; b &amp; $c$</text>" in svg
    assert "<title>what &#34;is&#34; &lt;said&gt;</title>" in svg
    assert "http" not in svg


def test_what_is_said_parts_the_ids_of_a_page():
    first, second = (set(re.findall(r' id="([^"]*)"', inline(figure(), said))) for said in "ab")
    assert first
    assert not first & second
    assert inline(figure(), "a") == inline(figure(), "a")
    assert 'aria-hidden="true"' in inline(figure(), "")


def test_settings_are_untouched(tmp_path: Path):
    before = dict(matplotlib.rcParams)
    style.save(figure(), tmp_path / "figure.svg")
    inline(figure(), "")
    assert dict(matplotlib.rcParams) == before
