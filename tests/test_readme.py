"""The README's examples are what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fbnetv5.archs.topology import Topology
from fbnetv5.config import describe
from tests.jobs.runs import TINY, environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    return next(b for b in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in b)


TASKS = {"cls": "labels", "det": "boxes", "seg": "masks"}


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [("cls", "det", "seg"), ("cls",), ("det",), ("seg",)])
def test_the_yaml_file_searches_ones_own_data(tmp_path, tasks):
    """The layout and the YAML file that the README shows, whole and with what one has no labels for left out."""
    images, masks = tmp_path / "my_data" / "images" / "train", tmp_path / "my_data" / "masks" / "train"
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    records, annotations, rows = [], [], ["file_name,label"]
    for i in range(8):
        Image.new("RGB", (80, 70), (30 * i, 100, 50)).save(images / f"{i}.jpg")
        Image.new("L", (80, 70), i % 2).save(masks / f"{i}.png")
        records.append({"id": i, "file_name": f"{i}.jpg", "width": 80, "height": 70})
        annotations.append({"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 30, 30]})
        rows.append(f"{i}.jpg,{'cat' if i % 2 else 'dog'}")
    coco = {"images": records, "annotations": annotations, "categories": [{"id": 1, "name": "head"}]}
    (tmp_path / "my_data" / "instances_train.json").write_text(json.dumps(coco))
    (tmp_path / "my_data" / "labels_train.csv").write_text("\n".join(rows) + "\n")
    unwanted = [name for task, labels in TASKS.items() if task not in tasks for name in (task, labels)]
    lines = block("yaml", "my_search").splitlines(keepends=True)
    lines = [line for line in lines if not line.strip().startswith(tuple(f"{name}:" for name in unwanted) or "\0")]
    (tmp_path / "my_search.yaml").write_text("".join(lines))
    small = [o for o in TINY if "shapes" not in o]
    result = subprocess.run(
        [sys.executable, str(ROOT / "train_net.py"), "--config", "my_search.yaml", *small, "search.steps=2"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for task in tasks:
        assert Topology.load(tmp_path / "runs" / "my_search" / f"topology_{task}.yaml").num_stages == 2


def test_the_python_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Topology(7, frozenset({(1, 2), (2, 0)})).save("runs/quickstart/topology_seg.yaml")
    names = {"images": torch.zeros(2, 3, 224, 224)}
    exec(block("python", "Topology.load"), names)  # the README's own code
    assert names["features"][2].shape == (2, 120, 13, 13)
    assert int(capsys.readouterr().out) > 0


def test_commands_name_files_and_keys_that_exist():
    keys = {key for key, _, _ in describe()}
    for line in re.findall(r"^(?:python|torchrun).*$", README, re.MULTILINE):
        for config in re.findall(r"--config (configs/\S+)", line):
            assert (ROOT / config).is_file()
        for key in re.findall(r"([a-z_.]+)=", line.split("#")[0]):
            assert key in keys, line
    for path in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / path).exists(), path
