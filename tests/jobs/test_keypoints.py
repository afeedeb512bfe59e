"""Keypoints through whole jobs, on people made of three dots: trained, judged, written, and searched for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fbnetv5
from fbnetv5.config.read import load_config
from fbnetv5.jobs import search, train
from tests.jobs.people import NAMES, pose_training, write_people
from tests.jobs.runs import ROOT, TINY
from tests.processes import undrawn


@pytest.mark.slow
def test_a_training_of_two_steps(tmp_path):
    data = tmp_path / "data"
    folder = tmp_path / "run"
    folder.mkdir()
    config, *overrides = pose_training(data)
    train.run(load_config(Path(config.removeprefix("--config=")), overrides), folder)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert metrics["num_images"] == 7
    assert {"PCKh@0.5", "PCK@0.2", "AP", "PCK@0.2/left_hand"} <= set(metrics)
    results = json.loads((folder / "predictions" / "results.json").read_text())
    assert [result["image_id"] for result in results] == list(range(1, 8))
    assert (folder / "predictions" / "drawn.png").is_file()
    assert "PCKh@0.5" in (folder / "report.html").read_text()
    model = fbnetv5.load(folder)
    assert model.classes == tuple(NAMES)
    found = model.predict_tensors(data / "images" / "0.png")
    assert found.shape == (3, 3)
    assert (found[:, 0] <= 80).all()
    assert (found[:, 1] <= 64).all()


@pytest.mark.slow
def test_a_search_with_pose_among_its_tasks(tmp_path):
    data = write_people(tmp_path / "data", 10)  # a quarter of the labelled ones are enough for two halves
    splits = (f"data.root={data}", *(f"data.train.{key}=people.json" for key in ("keypoints", "boxes")))
    overrides = (*TINY, *splits, "data.train.images=images", "search.steps=2", "runtime.workers=0")
    folder = tmp_path / "run"
    folder.mkdir()
    with undrawn():
        search.run(load_config(ROOT / "configs" / "search" / "lsp.yaml", overrides), folder)
    assert {path.stem for path in folder.glob("topology_*.yaml")} == {"topology_det", "topology_pose"}
