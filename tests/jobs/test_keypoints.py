"""Keypoints through whole jobs, on people made of three dots: trained, judged, written, and searched for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fbnetv5
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs import search, train
from tests.jobs.runs import ROOT, TINY

NAMES = ["head", "left_hand", "right_hand"]
COLOURS = [(255, 80, 80), (80, 255, 80), (80, 80, 255)]
FILES = {"images": "images", "keypoints": "people.json"}


@pytest.fixture
def data(tmp_path) -> Path:
    """Eight images of 64 x 80 pixels, one of which is unlabelled."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    people = []
    for number in range(8):
        pixels = random.integers(0, 60, (64, 80, 3), np.uint8)
        points = random.integers(6, 58, (3, 2))
        for (x, y), colour in zip(points, COLOURS, strict=True):
            pixels[y - 3 : y + 4, x - 3 : x + 4] = colour
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        keypoints = [int(v) for x, y in points for v in (x, y, 2)]
        box = [*points.min(0).tolist(), *np.ptp(points, 0).tolist()]
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 900, "head_size": 10}
        people += [entry | {"keypoints": keypoints}] if number else []
    category = {"id": 1, "name": "person", "keypoints": NAMES}
    document = {"images": images, "annotations": people, "categories": [category]}
    (root / "people.json").write_text(json.dumps(document))
    return root


def config_of(root: Path) -> RunConfig:
    config = load_config(ROOT / "configs" / "train" / "pose" / "lsp.yaml")
    config.data.root = str(root)
    for split in (config.data.train, config.data.val):
        split.images, split.keypoints = FILES["images"], FILES["keypoints"]
    config.data.short_side = config.data.crop = config.data.crop_width = 64
    config.data.scale = [0.9, 1.1]
    config.model.topology, config.model.num_stages = "linear", 1
    config.model.head |= {"hidden_channels": 8}
    config.train.steps, config.train.batch_size, config.train.eval_every = 2, 4, 1
    config.evaluate.num_drawn = 2
    config.runtime.device, config.runtime.workers = "cpu", 0
    return config


@pytest.mark.slow
def test_a_training_of_two_steps(data, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    train.run(config_of(data), folder)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert metrics["num_images"] == 7
    assert {"PCKh@0.5", "PCK@0.2", "AP", "PCK@0.2/left_hand"} <= set(metrics)
    results = json.loads((folder / "predictions" / "results.json").read_text())
    assert [result["image_id"] for result in results] == list(range(1, 8))
    assert (folder / "predictions" / "drawn.png").is_file()
    assert "PCKh@0.5" in (folder / "report.html").read_text()
    model = fbnetv5.load(folder)
    assert model.classes == tuple(NAMES)
    found = model.predict(data / "images" / "0.png")
    assert found.shape == (3, 3)
    assert (found[:, 0] <= 80).all()
    assert (found[:, 1] <= 64).all()


@pytest.mark.slow
def test_a_search_with_pose_among_its_tasks(data, tmp_path):
    splits = (f"data.root={data}", *(f"data.train.{key}=people.json" for key in ("keypoints", "boxes")))
    overrides = (*TINY, *splits, "data.train.images=images", "search.steps=2", "runtime.workers=0")
    folder = tmp_path / "run"
    folder.mkdir()
    search.run(load_config(ROOT / "configs" / "search" / "lsp.yaml", overrides), folder)
    assert {path.stem for path in folder.glob("topology_*.yaml")} == {"topology_det", "topology_pose"}
