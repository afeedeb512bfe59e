"""The page in a headless Chromium: ``FBNETV5_CHROMIUM``, or one that is found under its usual names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from fbnetv5.report.html import write_report
from tests.report.runs import TASKS, write_search, write_training

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = os.environ.get("FBNETV5_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")
SIZES = ((360, 800), (1280, 900))
PROBE = """<!DOCTYPE html><title>probe</title><body style="margin:0">
<iframe id=page src="{page}" style="width:{width}px;height:{height}px;border:0"></iframe>
<script>onload = () => {{ const root = document.getElementById("page").contentDocument.documentElement;
document.title = root.scrollWidth + " of " + root.clientWidth; }}</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason=f"no browser: set FBNETV5_CHROMIUM, or install one of {', '.join(NAMES)}"
    ),
]


def chromium(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(CHROMIUM), *FLAGS, profile, "--enable-logging=stderr", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(params=["search", "large search", "training", "long names"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "search":
        write_search(tmp_path / "run")
    elif request.param == "large search":
        write_search(tmp_path / "run", TASKS, num_stages=7, num_records=100)
    elif request.param == "training":
        write_training(tmp_path / "run")
    else:
        write_training(tmp_path / "run", ["unbroken" * 12, "two words " * 20], name="run_of_an_endless_name_" * 8)
    return write_report(tmp_path / "run")


@pytest.mark.parametrize("size", SIZES)
def test_a_page_is_drawn_without_errors(page: Path, size: tuple[int, int], tmp_path: Path):
    picture = tmp_path / "page.png"
    told = chromium(tmp_path, f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}", page.as_uri()).stderr
    assert "CONSOLE" not in told, told
    with Image.open(picture) as image:
        assert image.size == size
        colours = image.convert("RGB").getcolors(size[0] * size[1]) or []
    assert len(colours) > 50
    assert max(count for count, _ in colours) < 0.8 * size[0] * size[1]


@pytest.mark.parametrize("size", SIZES)
def test_a_page_does_not_scroll_sideways(page: Path, size: tuple[int, int], tmp_path: Path):
    """A frame may be narrower than a browser's window, and a page of ours runs no script to measure itself."""
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(page=page.as_uri(), width=size[0], height=size[1]))
    document = chromium(tmp_path, "--allow-file-access-from-files", "--dump-dom", probe.as_uri()).stdout
    measured = re.search(r"<title>(\d+) of (\d+)</title>", document)
    assert measured, document[:500]
    assert measured[1] == measured[2] == str(size[0])


def test_a_page_is_printed(page: Path, tmp_path: Path):
    chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}", page.as_uri())
    document = (tmp_path / "page.pdf").read_bytes()
    assert document.startswith(b"%PDF")
    sides = {tuple(map(float, box)) for box in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", document)}
    assert all(width == pytest.approx(595, abs=1) and height == pytest.approx(842, abs=1) for width, height in sides)
    assert sides
