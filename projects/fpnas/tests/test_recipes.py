"""The recipes of Sections 4.1 to 4.3: they load, they build, and the core's jobs run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fbnetv5.config.read import load_config
from fbnetv5.data.sources import build_source
from fbnetv5.engine.optim import rate_factor
from fbnetv5.jobs import train
from fbnetv5.model.build import build_final_model
from fbnetv5.projects.fpnas import multi_scale
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.macro import MACROS
from fbnetv5.projects.fpnas.tests.test_network import TINY

CONFIGS = Path(__file__).parents[1] / "configs"
SHAPES = (
    "data.shapes.num_images=8",
    "data.shapes.num_val_images=4",
    "data.shapes.size=64",
    "data.val.images=null",
    "data.val.masks=null",
    "data.mask_classes=[]",
    "runtime.device=cpu",
    "runtime.workers=0",
    "evaluate.num_drawn=0",
)
SEGMENTATION = ("data.train.images=null", "data.train.masks=null", "runtime.precision=float32")


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    TINY.save(tmp_path / "tiny.yaml")
    return tmp_path / "tiny.yaml"


@pytest.mark.parametrize(("name", "first", "last"), [("cifar10", 0.02, 1e-4), ("imagenet", 0.45, 1e-5)])
def test_rates_fall_to_the_papers_in_whole_cycles(name: str, first: float, last: float):
    config = load_config(CONFIGS / "train" / f"{name}.yaml")
    epochs = int(config.train.epochs or 0)
    rates = [
        config.optimizer.lr * rate_factor(config.optimizer.schedule, step, 1000 * epochs, 1000.0)
        for step in (0, 10_000 - 1, 10_000, 1000 * epochs - 1)
    ]
    assert rates == pytest.approx([first, last, first, last], rel=0.01)


def test_the_cifar_recipe_builds_its_model(tmp_path: Path):
    macro = MACROS["cifar10"]
    Architecture.of(macro, [f"{'add' if at.keeps_shape else 'conv'} k3e6" for at in macro.positions]).save(
        tmp_path / "a.yaml"
    )
    files = ("data.train.images=null", "data.train.labels=null", "data.val.images=null", "data.val.labels=null")
    config = load_config(
        CONFIGS / "train" / "cifar10.yaml", (f"model.network.architecture={tmp_path / 'a.yaml'}", *files)
    )
    model = build_final_model(config.model, config.data, build_source(config.data))
    assert model.cost().macs == pytest.approx(296e6, rel=0.01)


def test_a_segmenter_is_trained_and_evaluated_at_several_scales(tmp_path: Path, architecture: Path):
    overrides = (
        *SHAPES,
        *SEGMENTATION,
        "data.short_side=64",
        "data.crop=64",
        f"model.network.architecture={architecture}",
        "+model.head.hidden_channels=8",
        "train.steps=2",
        "train.batch_size=4",
    )
    config = load_config(CONFIGS / "train" / "ade20k.yaml", overrides)
    train.run(config, tmp_path / "trained")
    single = json.loads((tmp_path / "trained" / "metrics.json").read_text())
    scales = (*SHAPES, *SEGMENTATION, f"evaluate.model={tmp_path / 'trained'}", "project.short_sides=[64,96]")
    multi_scale.run(load_config(CONFIGS / "ade20k_multi_scale.yaml", scales), tmp_path / "evaluated")
    several = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    assert several["metrics"]["num_images"] == single["metrics"]["num_images"] == 4
    assert {"mIoU", "pixel_accuracy"} <= several["metrics"].keys()
    assert several["model"]["macs"] > 2 * single["model"]["macs"]
