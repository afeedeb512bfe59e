"""Cityscapes' masks, rewritten and found by the names of the images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fbnetv5.data.folders import find_masks, list_images
from tests.processes import run, script

ROOT = Path(__file__).parents[2]
CITIES = {"train": "aachen", "val": "munster"}
SUFFIXES = {"gtFine": ("gtFine_labelIds", "gtFine_color"), "leftImg8bit": ("leftImg8bit",)}
NAME = "train/aachen/aachen_000000_000019_gtFine_labelIds.png"


def prepare(root: Path) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "datasets" / "prepare_cityscapes.py", root, "--workers", "1")


@pytest.fixture
def root(tmp_path):
    for split, city in CITIES.items():
        for folder, suffixes in SUFFIXES.items():
            for suffix in suffixes:
                file = tmp_path / folder / split / city / f"{city}_000000_000019_{suffix}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.array([[0, 7, 8], [11, 33, 29]], np.uint8)).save(file)
    return tmp_path


def test_the_benchmarks_classes_count_from_zero_and_the_rest_is_ignored(root):
    """road 7, sidewalk 8, building 11, bicycle 33; unlabelled 0 and caravan 29 are not evaluated."""
    result = prepare(root)
    assert result.returncode == 0, result.stderr
    assert "2 masks" in result.stdout
    for split in CITIES:
        images = list_images(root / "leftImg8bit" / split)
        masks = find_masks(root / "gtFine_trainIds" / split, images)
        assert set(masks) == set(images)
        (name,) = masks.values()
        mask = np.array(Image.open(root / "gtFine_trainIds" / split / name))
        assert mask.tolist() == [[255, 0, 1], [2, 18, 255]]


def test_a_mask_that_is_there_stays(root):
    assert prepare(root).returncode == 0
    (root / "gtFine" / NAME).write_bytes(b"")
    assert prepare(root).returncode == 0
    assert len(list((root / "gtFine_trainIds").rglob("*.png"))) == 2


def test_what_is_wrong_is_said_in_one_line(root):
    Image.fromarray(np.array([[34]], np.uint8)).save(root / "gtFine" / NAME)
    result = prepare(root)
    assert result.returncode == 1
    assert result.stderr.endswith(f"error: {root / 'gtFine' / NAME}: expected one channel of values 0 to 33\n")
    assert "no masks in" in prepare(root / "nowhere").stderr
