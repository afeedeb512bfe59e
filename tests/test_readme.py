"""The README's examples are what they say."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from fbnetv5.archs.topology import Topology
from fbnetv5.config.describe import describe
from tests import documents
from tests.documents import ROOT
from tests.jobs.runs import TINY
from tests.processes import command_line_of, run

README = documents.read("README.md")
block = partial(documents.block, README)


def write_data(root: Path, split: str) -> None:
    """Write a split in the layout that the README shows."""
    images, masks = root / "images" / split, root / "masks" / split
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
    (root / f"instances_{split}.json").write_text(json.dumps(coco))
    (root / f"labels_{split}.csv").write_text("\n".join(rows) + "\n")


def train_net(folder: Path, *arguments: str) -> None:
    """Run a command of the README in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run(command_line_of, arguments)
    assert result.returncode == 0, result.stderr


TASKS = {"cls": "labels", "det": "boxes", "seg": "masks"}


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [("cls", "det", "seg"), ("det",)])
def test_the_yaml_file_searches_ones_own_data(tmp_path, tasks):
    """The layout and the YAML file that the README shows, whole and with what one has no labels for left out."""
    write_data(tmp_path / "my_data", "train")
    unwanted = [name for task, labels in TASKS.items() if task not in tasks for name in (task, labels)]
    lines = block("yaml", "my_search").splitlines(keepends=True)
    lines = [line for line in lines if not line.strip().startswith(tuple(f"{name}:" for name in unwanted) or "\0")]
    (tmp_path / "my_search.yaml").write_text("".join(lines))
    small = [o for o in TINY if "shapes" not in o]
    train_net(tmp_path, "--config", "my_search.yaml", *small, "search.steps=2")
    for task in tasks:
        assert Topology.load(tmp_path / "runs" / "my_search" / f"topology_{task}.yaml").num_stages == 2


@pytest.mark.slow
def test_what_was_found_is_trained_loaded_and_predicts(tmp_path, monkeypatch, capsys):
    """The YAML file, the commands and the Python of "Train what was found", on a small image."""
    for split in ("train", "val"):
        write_data(tmp_path / "my_data", split)
    Topology(4, frozenset({(1, 2), (2, 0), (3, 1)})).save(tmp_path / "runs" / "my_search" / "topology_det.yaml")
    (tmp_path / "my_det.yaml").write_text(block("yaml", "my_det"))
    small = ["train.epochs=null", "train.steps=1", "data.short_side=64", "runtime.workers=0"]
    train_net(tmp_path, "--config", "my_det.yaml", *small)
    metrics = json.loads((tmp_path / "runs" / "my_det" / "metrics.json").read_text())
    assert 0 <= metrics["metrics"]["AP"] <= 1

    (tmp_path / "photos").mkdir()
    for photo in (tmp_path / "photos" / "a.jpg", tmp_path / "photo.jpg"):
        Image.new("RGB", (90, 60), (200, 100, 50)).save(photo)
    commands = [c.split("#")[0].split()[2:] for c in block("bash", "job=evaluate").splitlines()[1:]]
    commands[0][1] = str(ROOT / commands[0][1])  # a config that the clone has
    for command in commands:
        train_net(tmp_path, *command, "runtime.workers=0")
    assert (
        json.loads((tmp_path / "runs" / "my_det_again" / "metrics.json").read_text())["metrics"] == metrics["metrics"]
    )

    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block("python", "fbnetv5.load"), names)  # the README's own code
    assert names["prediction"]["boxes"].shape[1:] == (4,)
    assert "head" in capsys.readouterr().out


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
    for link in re.findall(r"\]\(([^)h][^)]*)\)", README):
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert anchor in {"", *(heading.lower().replace(" ", "-") for heading in headings)}, link
