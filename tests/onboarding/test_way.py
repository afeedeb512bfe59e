"""From a folder to predictions, with no file edited by hand."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from fbnetv5.cli import commands
from tests.onboarding.folders import photos, text
from tests.processes import run

LOOK = "search.last_look={candidates: 12, images: 8, finalists: 2, family: 2, neighbours: false}"
SMALL = ("runtime.workers=0", "runtime.device=cpu")


def fbnetv5(*arguments: str) -> None:
    """Run a command in a process of its own, where this one is."""
    result = run(commands.main, arguments)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_folder_is_searched_on_trained_on_and_predicted(tmp_path, monkeypatch):
    """YOLO's polygons, for which boxes and masks are converted and images split off: most of the way that there is."""
    monkeypatch.chdir(tmp_path)
    names = [f"{k}.jpg" for k in range(24)]
    photos(tmp_path / "cells" / "images", names)
    for k in range(24):
        text(tmp_path / "cells" / "labels" / f"{k}.txt", f"{k % 2} 0.2 0.2 0.7 0.2 0.7 0.8\n")
    text(tmp_path / "cells" / "classes.txt", "round\nlong\n")
    fbnetv5("init", "cells", "--output", "my.yaml", "--start", "scratch")
    fbnetv5("check", "my.yaml")
    fbnetv5("search", "my.yaml", "search.steps=2", "model.num_stages=2", LOOK, *SMALL)
    for task in ("seg",):
        fbnetv5("check", f"my_{task}.yaml")
        fbnetv5("train", f"my_{task}.yaml", "train.steps=2", *SMALL)
        metrics = json.loads((tmp_path / "runs" / f"my_{task}" / "metrics.json").read_text())
        assert metrics["metrics"]
        fbnetv5("predict", f"runs/my_{task}", "cells/images/0.jpg", "runtime.workers=0")
    predicted = next((tmp_path / "runs" / "my_seg" / "predict").rglob("masks/**/*.png"))
    with Image.open(predicted) as mask:
        assert mask.size == (60, 40)
