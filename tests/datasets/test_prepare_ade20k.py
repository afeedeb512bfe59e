"""ADE20K's masks, rewritten."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import run, script

ROOT = Path(__file__).parents[2]


def prepare(root: Path) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "datasets" / "prepare_ade20k.py", root, "--workers", "1")


@pytest.fixture
def root(tmp_path):
    for split in ("training", "validation"):
        folder = tmp_path / "annotations" / split
        folder.mkdir(parents=True)
        Image.fromarray(np.array([[0, 1], [150, 7]], np.uint8)).save(folder / f"ADE_{split}_1.png")
    return tmp_path


def test_classes_count_from_zero_and_the_rest_is_ignored(root):
    result = prepare(root)
    assert result.returncode == 0, result.stderr
    for split in ("training", "validation"):
        mask = np.array(Image.open(root / "annotations_detectron2" / split / f"ADE_{split}_1.png"))
        assert mask.tolist() == [[255, 0], [149, 6]]
    assert prepare(root).returncode == 0  # again


def test_what_is_wrong_is_said_in_one_line(root, tmp_path):
    bad = root / "annotations" / "training" / "ADE_training_1.png"
    Image.fromarray(np.array([[151]], np.uint8)).save(bad)
    result = prepare(root)
    assert result.returncode == 1
    assert f"error: {bad}: expected one channel of values 0 to 150" in result.stderr
    assert "Traceback" not in result.stderr
    assert "no masks in" in prepare(tmp_path / "nowhere").stderr
