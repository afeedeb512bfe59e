"""Whole trainings: started from a supernet, evaluated, distilled."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import fbnetv5
from fbnetv5.base.errors import InputError
from fbnetv5.cli import launch as command_line
from tests.jobs.cases import TRAIN, take, training
from tests.jobs.runs import ROOT, arguments, metrics

pytestmark = pytest.mark.slow

TASKS = ("cls", "det", "seg")
LAST = "checkpoints/step-00000004/model.safetensors"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of two steps."""
    folder = tmp_path_factory.mktemp("searched")
    take(arguments("search.steps=2", "search.batch_size=8", "search.num_samples=2", f"output={folder}"))
    return folder


@pytest.fixture(scope="module")
def trained(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A training of each head in mixed precision, from the supernet's weights, whose rate is 0."""
    folders = {task: tmp_path_factory.mktemp("trained") / task for task in TASKS}
    for task, folder in folders.items():
        start = (f"model.weights={searched / 'model.safetensors'}", f"model.topology={searched}/topology_{task}.yaml")
        still = ("train.steps=2", "train.ema=null", "optimizer.lr=0", "runtime.precision=bfloat16")
        take([*training(task)(folder), f"output={folder}", *start, *still])
    return folders


@pytest.mark.parametrize("task", TASKS)
def test_weights_of_a_searched_supernet_start_every_training(task, searched, trained):
    """Nothing is missing but the heads."""
    supernet, model = (load_file(folder / "model.safetensors") for folder in (searched, trained[task]))
    parameters = [name for name in model if name.startswith("network.") and name.endswith("weight")]
    assert parameters
    assert all(torch.equal(model[name], supernet[name]) for name in parameters)
    assert math.isfinite(metrics(trained[task])[0]["loss"])


def test_a_trained_model_predicts_a_folder_of_images(trained, tmp_path):
    photos = tmp_path / "photos" / "holiday"
    photos.mkdir(parents=True)
    Image.new("RGB", (130, 70), (30, 100, 50)).save(photos / "a.jpg")
    Image.new("L", (50, 60), 99).save(photos / "grey.png")
    Image.new("RGBA", (40, 300), (9, 9, 9, 9)).save(photos / "clear.png")
    given = (f"evaluate.model={trained['det']}", f"evaluate.images={tmp_path / 'photos'}", f"output={tmp_path / 'out'}")
    take(arguments(*given, config="configs/evaluate.yaml", tiny=False))
    written = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())
    assert {image["file_name"] for image in written["images"]} == {
        "holiday/a.jpg",
        "holiday/grey.png",
        "holiday/clear.png",
    }
    assert (tmp_path / "out" / "predictions" / "drawn.png").exists()
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert len(fbnetv5.load(trained["det"]).predict(photos / "grey.png")["boxes"]) <= 100


def test_a_run_is_evaluated_again_with_the_same_numbers(trained, tmp_path, capsys):
    given = ("job=evaluate", f"evaluate.model={trained['seg']}", f"output={tmp_path}")
    take(arguments(*given, config=trained["seg"] / "config.yaml", tiny=False))
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (trained["seg"], tmp_path))
    assert first["metrics"] == second["metrics"]
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    capsys.readouterr()
    take(arguments(*given, "data.short_side=80", "resume=true", config=trained["seg"] / "config.yaml", tiny=False))
    assert "data.short_side=80 is not read: " in capsys.readouterr().out
    photo = (f"evaluate.images={tmp_path / 'photo.png'}", "resume=true")
    with pytest.raises(InputError, match="says of the validation split; choose another output"):
        take(arguments(*given, *photo, config=trained["seg"] / "config.yaml", tiny=False))
    assert (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    "key", ["train.task_weights=uncertainty", "model.share=blocks", "train.epochs=0 train.steps=null"]
)
def test_keys_that_would_have_no_effect_are_refused(key, tmp_path):
    with pytest.raises(InputError, match=f"^{key.split()[0]} "):
        take([*training("cls")(tmp_path), f"output={tmp_path}", *key.split()])


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("det", (), "LiteRCNN is no classifier"),
        ("cls", ("data.crop=null",), r"train\.teacher needs data\.crop"),
    ],
)
def test_a_teacher_that_would_teach_nothing_or_padding_is_refused(task, overrides, message, tmp_path):
    with pytest.raises(InputError, match=message):
        take([*training(task)(tmp_path), f"output={tmp_path}", "train.teacher.model=resnet18", *overrides])


def test_a_teacher_is_distilled_from_and_weights_are_averaged(trained, tmp_path):
    brief = ("train.steps=4", "train.eval_every=2")
    take([*training("cls")(tmp_path), f"output={tmp_path}", f"train.teacher.model={trained['cls']}", *brief])
    assert {"loss_label", "loss_teacher"} <= set(metrics(tmp_path)[0])
    assert any(key.startswith("val/") for record in metrics(tmp_path) for key in record)
    averaged, last = (load_file(tmp_path / name) for name in ("model.safetensors", LAST))
    assert any(not torch.equal(averaged[key], last[key]) for key in averaged)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.topology=configs/topologies/cls.yaml",), "path"),
        (("model.topology=nowhere.yaml",), "no topology nowhere.yaml: a search writes such files"),
        (("model.head._target_=fbnetv5.heads.lite_rcnn.head.LiteRCN",), "LiteRCN"),
        (("model.head.anchors=[1]",), "model.head.anchors"),
        (("train.epochs=1",), "one of train.steps and train.epochs"),
        (("train.batch_size=7", "train.accumulate=2"), "multiple"),
        (("train.ema=1.0",), "decay below 1"),
        (("train.batch_size=1", "data.short_side=32"), "a single value on path 3"),
        (
            ("train.batch_size=1", "model.family=A", "data.short_side=80", "data.crop=80"),
            "one image of 80 pixels at a time leaves",
        ),
        (("optimizer.lr=1e9", "optimizer.clip_norm=null"), "at step"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, overrides, message, capsys):
    config = ROOT / "configs" / "train" / "det" / "shapes.yaml"
    with pytest.raises(SystemExit) as exit_info:
        command_line.main([f"--config={config}", f"output={tmp_path / 'run'}", *TRAIN, *overrides])
    assert exit_info.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_mask_crop_of_ignored_pixels_alone_is_learnt_from_as_it_is(tmp_path):
    """Its target is there, all 255, as the head's loss wants it."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number in range(4):
        Image.new("RGB", (64, 64), (40 * number, 90, 120)).save(tmp_path / "images" / f"{number}.png")
        mask = Image.new("L", (64, 64), 255)
        mask.putpixel((0, 0), 1)
        mask.putpixel((1, 0), 0)
        mask.save(tmp_path / "masks" / f"{number}.png")
    files = ["data.train.images=images", "data.train.masks=masks", f"data.root={tmp_path}", "data.mask_classes=[a,b]"]
    take([*training("seg")(tmp_path), *files, "data.crop=32", "data.scale=[2.0,2.0]", f"output={tmp_path / 'run'}"])
    assert (tmp_path / "run" / "model.safetensors").is_file()
