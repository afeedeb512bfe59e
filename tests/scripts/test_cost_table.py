"""The cost table against the paper: counted MACs within the tolerances that the printed figures allow."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run, script

ROOT = Path(__file__).parents[2]
SMALL = ("A_C", "A_R", "A")


def cost_table(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "scripts" / "cost_table.py", *map(str, arguments))


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("cost") / "figures.json"
    result = cost_table("--json", file)
    assert result.returncode == 0, result.stderr
    assert [line[:7] for line in result.stdout.splitlines() if line.startswith("Table")] == [
        "Table 2",
        "Table 6",
        "Table 7",
    ]
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def test_the_printed_figures_are_the_papers(figures):
    """Rows written out from the paper, and the sums that its tables state."""
    printed = {table: [row["printed"] for row in figures[table]] for table in ("table_2", "table_6", "table_7")}
    assert [row["total"] for row in printed["table_2"]] == [215, 280, 685, 1000, 2100]
    assert list(printed["table_6"][2].values()) == [2485, 215, 135, 84, 2919]
    assert list(printed["table_7"][3].values()) == [912, 347, 182, 1441, 1367]
    for row in printed["table_6"] + printed["table_7"]:
        parts = [macs for part, macs in row.items() if part not in ("total", "average")]
        assert abs(sum(parts) - row["total"]) <= 1


def test_backbones(figures):
    """Within 1 % for the small families, 2 % for C and F. Table 2 has the whole model, and two digits for C and F."""
    for table, part in (("table_2", "total"), ("table_6", "backbone"), ("table_7", "backbone")):
        for row in figures[table]:
            tolerance = 0.01 if row["family"] in SMALL else 0.02
            assert row["ratio"][part] == pytest.approx(1, abs=tolerance), (table, row)
    rounded = {row["family"]: round(row["counted"]["total"], -2) for row in figures["table_2"]}
    assert (rounded["C"], rounded["F"]) == (1000, 2100)


def test_detection_heads(figures):
    for row in figures["table_7"]:
        assert row["ratio"]["RPN"] == pytest.approx(1, abs=0.015)
        assert row["ratio"]["ROI"] == pytest.approx(1, abs=0.015)
        assert row["ratio"]["total"] == pytest.approx(1, abs=0.01)


def test_pixel_decoder(figures):
    ratios = {row["family"]: row["ratio"]["pixel decoder"] for row in figures["table_6"]}
    for family in (*SMALL, "C"):
        assert ratios[family] == pytest.approx(1, abs=0.03)


def test_counts_of_a_lite_maskformer_by_hand(figures):
    """A_C at 384: 30 channels at 48x48, 168 channels at 12x12; 100 queries of 256 channels."""
    counted = figures["table_6"][0]["counted"]
    assert counted["pixel decoder"] == pytest.approx(30 * 9 * 256 * 48**2 / 1e6)
    attention = (4 * 100 * 256**2 + 2 * 100**2 * 256) + (2 * (100 + 144) * 256**2 + 2 * 100 * 144 * 256)
    assert counted["transformer decoder"] == pytest.approx((168 * 256 * 144 + attention + 100 * 2 * 256 * 2048) / 1e6)
    assert counted["segmentation module"] == pytest.approx(100 * 256 * (151 + 3 * 256 + 48**2) / 1e6)


def test_one_mean_of_pixels_gives_every_printed_average(figures):
    """Appendix H on the printed parts: the solved means give all five averages back, within their rounding."""
    for row in figures["table_7"]:
        height, width = row["size"]
        ratio = figures["mean_pixels"][f"{height}x{width}"] / (height * width)
        printed, counted = row["printed"], row["counted"]
        assert ratio * (printed["backbone"] + printed["RPN"]) + printed["ROI"] == pytest.approx(
            printed["average"], abs=1
        )
        assert counted["average"] == pytest.approx(ratio * (counted["backbone"] + counted["RPN"]) + counted["ROI"])
        assert row["ratio"]["average"] == pytest.approx(1, abs=0.01)


def test_images_are_resized_to_the_short_or_the_long_side(tmp_path):
    """480x640 becomes 224x299 and 320x427; 200x1000 becomes 64x320 and 128x640; portraits likewise."""
    images, file = tmp_path / "images.json", tmp_path / "figures.json"
    sizes = [(480, 640), (640, 480), (200, 1000)]
    images.write_text(json.dumps({"images": [{"height": height, "width": width} for height, width in sizes]}))
    result = cost_table("--images", images, "--json", file)
    assert result.returncode == 0, result.stderr
    assert json.loads(file.read_text())["mean_pixels"] == {
        "213x320": pytest.approx((2 * 224 * 299 + 64 * 320) / 3),
        "320x481": pytest.approx((2 * 320 * 427 + 128 * 640) / 3),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ('{"images": [{"width": 3}]}', "expected a COCO file"),
        ('{"images": [{"width": 3, "height": 0}]}', "at least one pixel"),
    ],
)
def test_a_file_without_sizes_is_refused(tmp_path, content, message):
    images, figures = tmp_path / "images.json", tmp_path / "figures.json"
    if content is not None:
        images.write_text(content)
    result = cost_table("--images", images, "--json", figures)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not figures.exists()
