"""The examples of README.md and docs/TRAINING.md are what they say."""

from __future__ import annotations

import csv
import json
import shlex
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from fbnetv5.archs.topology import Topology
from fbnetv5.cli import commands
from tests import documents
from tests.documents import ROOT
from tests.jobs.runs import TINY
from tests.processes import command_line_of, run

readme = partial(documents.block, documents.read("README.md"))
training = partial(documents.block, documents.read("docs/TRAINING.md"))
LOOK = next(key for key in TINY if "last_look" in key)
SMALL_SEARCH = [key for key in TINY if "shapes" not in key]


def write_data(root: Path, split: str) -> None:
    """Write a split in the layout that the README's YAML file names."""
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


def photo(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (90, 60), (200, 100, 50)).save(path)


def train_net(folder: Path, *arguments: str) -> None:
    """Run a command of a document in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run(command_line_of, arguments)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_commands_lead_from_photos_to_a_file_for_a_device(tmp_path, monkeypatch):
    """As they stand, but for sizes; exported to one format."""
    pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    for split in ("train", "val"):
        write_data(tmp_path / "my_data", split)
    photo(tmp_path / "photos" / "a.jpg")
    sizes = {
        "init": ["--start", "scratch"],
        "search": ["model.num_stages=2", "search.steps=2", LOOK.replace("family: 0", "family: 2"), "runtime.workers=0"],
        "train": ["train.steps=1", "model.head.num_proposals=[30,3]", "evaluate.num_drawn=2", "runtime.workers=0"],
        "predict": ["runtime.workers=0"],
        "export": ["export.formats=[onnx]", "export.precisions=[fp32]", "export.max_drop=null"],
        "time": ["--repeats", "2"],
    }
    sizes["curve"] = [*sizes["train"], "export.formats=[onnx]", "--found-only", "--points", "2", "--repeats", "2"]
    monkeypatch.chdir(tmp_path)
    seen = []
    for line in readme("bash", "fbnetv5 init").splitlines():
        program, command, *arguments = shlex.split(line, comments=True)
        result = run(commands.main, [command, *arguments, *sizes.get(command, [])])
        assert program == "fbnetv5"
        assert result.returncode == 0, result.stderr
        seen.append(command)
    assert seen == ["init", "check", "search", "train", "predict", "export", "time", "curve"]
    sidecar = tmp_path / "runs" / "my_det" / "export" / "model_fp32.onnx.json"
    (milliseconds,) = json.loads(sidecar.read_text())["milliseconds"].values()
    assert 0 < milliseconds < 10_000
    with (tmp_path / "runs" / "my_curve" / "collected.csv").open() as file:
        points = list(csv.DictReader(file))
    assert len(points) > 1
    assert {point["status"] for point in points} == {"finished"}
    assert all(float(value) > 0 for point in points for name, value in point.items() if name.startswith("ms onnx fp32"))


TASKS = {"cls": "labels", "det": "boxes", "seg": "masks"}


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [("cls", "det", "seg"), ("det",)])
def test_the_yaml_file_searches_ones_own_data(tmp_path, tasks):
    """The YAML file that the README shows, whole and with what one has no labels for left out."""
    write_data(tmp_path / "my_data", "train")
    unwanted = [name for task, labels in TASKS.items() if task not in tasks for name in (task, labels)]
    lines = readme("yaml", "my_search").splitlines(keepends=True)
    lines = [line for line in lines if not line.strip().startswith(tuple(f"{name}:" for name in unwanted) or "\0")]
    (tmp_path / "my_search.yaml").write_text("".join(lines))
    train_net(tmp_path, "--config", "my_search.yaml", *SMALL_SEARCH, "search.steps=2")
    for task in tasks:
        assert Topology.load(tmp_path / "runs" / "my_search" / f"topology_{task}.yaml").num_stages == 2


@pytest.mark.slow
def test_what_was_found_is_trained_loaded_and_predicts(tmp_path, monkeypatch, capsys):
    """The YAML file, the commands and the Python of docs/TRAINING.md, and the README's Python, on a small image."""
    for split in ("train", "val"):
        write_data(tmp_path / "my_data", split)
    Topology(4, frozenset({(1, 2), (2, 0), (3, 1)})).save(tmp_path / "runs" / "my_search" / "topology_det.yaml")
    (tmp_path / "my_det.yaml").write_text(training("yaml", "my_det"))
    small = ["train.epochs=null", "train.steps=1", "data.short_side=64", "runtime.workers=0"]
    small += ["model.head.num_sampled=16", "model.head.num_proposals=[60,10]", "evaluate.num_drawn=2"]
    train_net(tmp_path, "--config", "my_det.yaml", *small)
    metrics = json.loads((tmp_path / "runs" / "my_det" / "metrics.json").read_text())
    assert 0 <= metrics["metrics"]["AP"] <= 1

    for name in ("photos/a.jpg", "photo.jpg"):
        photo(tmp_path / name)
    lines = [c.split("#")[0].split()[2:] for c in training("bash", "job=evaluate").splitlines()[1:]]
    lines[0][1] = str(ROOT / lines[0][1])  # a config that the clone has
    for command in lines:
        train_net(tmp_path, *command, "runtime.workers=0")
    again = json.loads((tmp_path / "runs" / "my_det_again" / "metrics.json").read_text())
    assert again["metrics"] == metrics["metrics"]

    monkeypatch.chdir(tmp_path)
    for code in (training("python", "fbnetv5.load"), readme("python", "fbnetv5.load")):
        names: dict = {}
        exec(code, names)  # as it stands
        assert names["prediction"].boxes.shape[1:] == (4,)
        assert "head" in capsys.readouterr().out


def test_the_python_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Topology(7, frozenset({(1, 2), (2, 0)})).save("runs/quickstart/topology_seg.yaml")
    names = {"images": torch.zeros(2, 3, 224, 224)}
    exec(training("python", "Topology.load"), names)  # as it stands
    assert names["features"][2].shape == (2, 120, 13, 13)
    assert int(capsys.readouterr().out) > 0
