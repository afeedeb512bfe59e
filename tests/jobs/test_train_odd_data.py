"""Trainings on data as people have them: images of all sizes and modes, classes and labels that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.layers import convert_sync_batchnorm

from fbnetv5.archs.topology import Topology
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.task_net import ModelSpec, build_model
from tests.jobs.cases import TRAIN
from tests.jobs.runs import launch
from tests.on_request import some_on_request

ODD = {
    "small.jpg": ("RGB", (40, 30)),
    "grey.png": ("L", (90, 60)),
    "clear.png": ("RGBA", (64, 128)),
    "palette.png": ("P", (70, 70)),
    "wide.jpg": ("RGB", (300, 40)),
    "dot.png": ("RGB", (3, 3)),
}
FILES = {
    "cls": ("labels.csv", "labels"),
    "det": ("boxes.json", "boxes"),
    "seg": ("masks", "masks"),
}


@pytest.fixture
def data(tmp_path) -> Path:
    """Six odd images; one has a box, two classes have no instance, and half of the images lack a class and a mask."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, (mode, size) in ODD.items():
        Image.new(mode, size, 7 if mode in ("L", "P") else (9, 99, 200, 50)[: len(mode)]).save(
            tmp_path / "images" / name
        )
    for name in ("small", "grey", "dot"):
        mask = Image.new("L", ODD[f"{name}.png" if name != "small" else "small.jpg"][1], 255 if name == "dot" else 1)
        mask.save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file_name,label\nsmall.jpg,a\ngrey.png,b\nclear.png,a\n")
    coco = {
        "images": [
            {"id": i, "file_name": name, "width": size[0], "height": size[1]}
            for i, (name, (_, size)) in enumerate(ODD.items())
        ],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 5, "bbox": [4, 4, 20, 20]}],
        "categories": [{"id": 5, "name": "here"}, {"id": 9, "name": "nowhere"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("task", some_on_request(["cls", "det", "seg"], {"cls"}))
def test_odd_images_and_missing_labels_train_and_evaluate(task, data):
    file, key = FILES[task]
    result = launch(
        f"output={data / 'run'}",
        *TRAIN,
        f"data.root={data}",
        *(f"data.{split}.images=images" for split in ("train", "val")),
        *(f"data.{split}.{key}={file}" for split in ("train", "val")),
        "data.mask_classes=[background, seen, unseen]",
        "data.short_side=64",
        *(() if task == "det" else ("data.crop=64",)),
        "data.long_side=128" if task == "det" else "data.long_side=null",
        "train.batch_size=1",
        "train.steps=12",
        "train.eval_every=null",
        config=f"configs/train/{task}/shapes.yaml",
        tiny=False,
    )
    assert result.returncode == 0, result.stderr[:3000]
    report = json.loads((data / "run" / "metrics.json").read_text())
    assert report["metrics"]["num_images"] == {"cls": 3, "det": 6, "seg": 3}[task]
    assert (data / "run" / "predictions" / "drawn.png").exists()


@pytest.mark.slow
def test_boxes_nowhere_train_and_classes_out_of_range_do_not(data):
    content = json.loads((data / "boxes.json").read_text())
    (data / "boxes.json").write_text(json.dumps({**content, "annotations": []}))
    files = [f"data.{split}.{key}" for split in ("train", "val") for key in ("images=images", "boxes=boxes.json")]
    files += [f"data.root={data}", "data.unannotated=empty", "train.steps=2", "train.eval_every=1"]
    config = "configs/train/det/shapes.yaml"
    result = launch(f"output={data / 'run'}", *TRAIN, *files, config=config, tiny=False)
    assert result.returncode == 0, result.stderr[:3000]
    assert result.stderr.count("the model is not rated: nothing to evaluate: none of 6 images has a true box") == 2
    assert (data / "run" / "report.html").is_file()

    masks = ("data.train.images=images", "data.train.masks=masks", f"data.root={data}", "data.mask_classes=[only]")
    config = "configs/train/seg/shapes.yaml"
    result = launch(f"output={data / 'other'}", *TRAIN, "data.crop=64", *masks, config=config, tiny=False)
    assert result.returncode == 1
    assert "'segmentation' has one class, 'only', and nothing can be learnt from it" in result.stderr
    assert "Traceback" not in result.stderr


def test_synchronised_bn_has_the_same_names():
    spec = ModelSpec(
        "NANO",
        Topology.full(1),
        {"_target_": "fbnetv5.heads.classifier.Classifier"},
        ("a", "b"),
        InputSpec(short_side=64, crop=64),
    )
    model = build_model(spec)
    names = list(model.state_dict())
    converted = convert_sync_batchnorm(model)
    assert list(converted.state_dict()) == names
    batch_norms = [m for m in converted.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert batch_norms
    assert all(isinstance(m, torch.nn.SyncBatchNorm) for m in batch_norms)
