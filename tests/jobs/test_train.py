"""Whole trainings through the command line: killed, spread over processes, started from a supernet, evaluated."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fbnetv5
from fbnetv5.cli import launch as command_line
from tests.jobs.runs import ROOT, launch, metrics

pytestmark = pytest.mark.slow

TASKS = ("cls", "det", "seg")
BRIEF = (
    "data.shapes.num_images=64",
    "data.shapes.num_val_images=12",
    "train.steps=8",
    "train.batch_size=8",
    "train.eval_every=4",
    "optimizer.schedule.warmup=2",
    "runtime.device=cpu",
    "runtime.threads=1",
    "runtime.workers=0",
    "runtime.log_every=2",
    "runtime.checkpoint_every=3",
)


def train(task: str, folder: Path, *overrides: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    config = f"configs/train/{task}/shapes.yaml"
    return launch(f"output={folder}", *brief(task), *overrides, config=config, tiny=False, processes=processes)


def brief(task: str) -> tuple[str, ...]:
    """Overrides that make a training of shapes a matter of seconds."""
    return (*BRIEF, "data.short_side=96", *(() if task == "det" else ("data.crop=96",)))


def test_weights_of_a_searched_supernet_start_every_training(tmp_path):
    """Nothing is missing but the heads."""
    search = launch(
        f"output={tmp_path / 'search'}", "search.steps=2", "data.shapes.size=96", "data.short_side=96", "data.crop=96"
    )
    assert search.returncode == 0, search.stderr[:3000]
    for task in TASKS:
        folder = tmp_path / task
        result = train(
            task,
            folder,
            f"model.weights={tmp_path / 'search' / 'model.safetensors'}",
            f"model.topology={tmp_path / 'search' / f'topology_{task}.yaml'}",
            "train.steps=1",
            "train.ema=null",
            "optimizer.lr=0",
        )
        assert result.returncode == 0, result.stderr[:3000]
        supernet, model = load_file(tmp_path / "search" / "model.safetensors"), load_file(folder / "model.safetensors")
        parameters = [name for name in model if name.startswith("network.") and name.endswith("weight")]
        assert parameters
        assert all(torch.equal(model[name], supernet[name]) for name in parameters)


def test_a_trained_model_predicts_a_folder_of_images(tmp_path):
    assert train("det", tmp_path / "run", "train.steps=2").returncode == 0
    photos = tmp_path / "photos" / "holiday"
    photos.mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (130, 70), (30, 100, 50)).save(photos / "a.jpg")
    Image.new("L", (50, 60), 99).save(photos / "grey.png")
    Image.new("RGBA", (40, 300), (9, 9, 9, 9)).save(photos / "clear.png")
    result = launch(
        f"output={tmp_path / 'out'}",
        f"evaluate.model={tmp_path / 'run'}",
        f"evaluate.images={tmp_path / 'photos'}",
        config="configs/evaluate.yaml",
        tiny=False,
    )
    assert result.returncode == 0, result.stderr[:3000]
    written = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())
    assert {image["file_name"] for image in written["images"]} == {
        "holiday/a.jpg",
        "holiday/grey.png",
        "holiday/clear.png",
    }
    assert (tmp_path / "out" / "predictions" / "drawn.png").exists()
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert len(fbnetv5.load(tmp_path / "run").predict(photos / "grey.png")["boxes"]) <= 100


def test_a_run_is_evaluated_again_with_the_same_numbers(tmp_path):
    assert train("seg", tmp_path / "run", "train.steps=2").returncode == 0
    result = launch(
        "job=evaluate",
        f"evaluate.model={tmp_path / 'run'}",
        f"output={tmp_path / 'again'}",
        config=tmp_path / "run" / "config.yaml",
        tiny=False,
    )
    assert result.returncode == 0, result.stderr[:3000]
    first, second = (json.loads((tmp_path / f / "metrics.json").read_text()) for f in ("run", "again"))
    assert first["metrics"] == second["metrics"]


def test_a_teacher_is_distilled_from(tmp_path):
    assert train("cls", tmp_path / "teacher", "train.steps=2").returncode == 0
    result = train("cls", tmp_path / "run", "train.steps=4", f"train.teacher.model={tmp_path / 'teacher'}")
    assert result.returncode == 0, result.stderr[:3000]
    assert {"loss_label", "loss_teacher"} <= set(metrics(tmp_path / "run")[0])


def test_mixed_precision_trains_all_heads(tmp_path):
    for task in TASKS:
        result = train(task, tmp_path / task, "runtime.precision=bfloat16", "train.steps=2")
        assert result.returncode == 0, result.stderr[:3000]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.topology=configs/topologies/cls.yaml",), "path"),
        (("model.topology=nowhere.yaml",), "nowhere.yaml"),
        (("model.head._target_=fbnetv5.heads.lite_rcnn.head.LiteRCN",), "LiteRCN"),
        (("model.head.anchors=[1]",), "model.head.anchors"),
        (("train.epochs=1",), "one of train.steps and train.epochs"),
        (("train.batch_size=7", "train.accumulate=2"), "multiple"),
        (("train.ema=1.0",), "decay below 1"),
        (("train.batch_size=1", "data.short_side=32"), "a single value on path 3"),
        (("optimizer.lr=1e9", "optimizer.clip_norm=null"), "at step"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, overrides, message, capsys):
    config = ROOT / "configs" / "train" / "det" / "shapes.yaml"
    with pytest.raises(SystemExit) as exit_info:
        command_line.main([f"--config={config}", f"output={tmp_path / 'run'}", *BRIEF, *overrides])
    assert exit_info.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "run" / "model.safetensors").exists()
