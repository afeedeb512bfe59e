"""Segmentation and classification under D2Go's train_net; and their weights as files of both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import read_weights, save_weights
from fbnetv5.config.read import load_config
from fbnetv5.d2.checkpoint import main as move
from fbnetv5.d2.checkpoint import move_weights
from fbnetv5.data.build import build_index
from tests.d2.detectors import ROOT, needs_detectron2
from tests.data.conftest import Folder

RUNNER = "fbnetv5.d2.task_runner.TaskRunner"
OPTIONS = {
    "FBNetV5Segmentation": ["MODEL.FBNETV5.TOPOLOGY", "configs/topologies/seg.yaml"],
    "FBNetV5Classification": ["MODEL.FBNETV5.TOPOLOGY", "configs/topologies/cls.yaml"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def run(folder: Folder, output: Path, architecture: str, *changes: Any) -> Any:
    from d2go.setup import create_cfg_from_cli
    from d2go.tools.train_net import main

    file = folder.root / "index.parquet"
    build_index(**folder.all_labels).write(file)
    config = output / "start.yaml"
    output.mkdir(exist_ok=True)
    config.write_text("VERSION: 2\n")
    shared = ["MODEL.DEVICE", "cpu", "MODEL.FBNETV5.FAMILY", "NANO", "MODEL.META_ARCHITECTURE", architecture]
    shared += ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", 2, "MODEL.FBNETV5.NUM_CLASSES", 2, "SOLVER.MAX_ITER", 2]
    shared += ["DATASETS.TRAIN", (str(file),), "DATASETS.TEST", (str(file),), "DATALOADER.NUM_WORKERS", 0]
    shared += ["INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64, "SOLVER.IMS_PER_BATCH", 2]
    shared += ["SOLVER.REFERENCE_WORLD_SIZE", 0, "SOLVER.OPTIMIZER", "adamw", "PROFILERS", []]
    shared += ["SOLVER.LR_SCHEDULER_NAME", "PolyLR", "SOLVER.BASE_LR", 1e-4, "MODEL.WEIGHTS", ""]
    cfg = create_cfg_from_cli(str(config), list(map(str, [*shared, *OPTIONS[architecture], *changes])), RUNNER)
    return main(cfg, str(output), RUNNER, resume=False)


@needs_detectron2
@pytest.mark.parametrize(
    ("architecture", "task", "metric"),
    [("FBNetV5Segmentation", "sem_seg", "mIoU"), ("FBNetV5Classification", "classification", "top1")],
)
def test_a_model_is_trained_and_evaluated(folder, tmp_path, architecture, task, metric):
    outcome = run(folder, tmp_path / "run", architecture)
    ((_, found),) = outcome.metrics["default"].items()
    assert 0 <= found[task][metric] <= 100
    written = torch.load(tmp_path / "run" / "model_final.pth")
    assert [group["lr"] for group in written["optimizer"]["param_groups"]] == pytest.approx(
        [1e-4 * 0.5**0.9] * len(written["optimizer"]["param_groups"])
    )


@needs_detectron2
def test_a_trained_model_goes_on_from_its_own_weights(folder, tmp_path):
    run(folder, tmp_path / "run", "FBNetV5Segmentation", "TEST.FINAL_EVAL", False)
    move([str(tmp_path / "run" / "model_final.pth"), str(tmp_path / "model.safetensors")])
    move([str(tmp_path / "model.safetensors"), str(tmp_path / "model.pth")])
    frozen = ("TEST.FINAL_EVAL", False, "SOLVER.BASE_LR", 0.0, "MODEL.WEIGHTS", tmp_path / "model.pth")
    run(folder, tmp_path / "again", "FBNetV5Segmentation", *frozen)
    before, after = (torch.load(tmp_path / name / "model_final.pth")["model"] for name in ("run", "again"))
    names = [name for name in before if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.equal(before[name], after[name]) for name in names)


def test_what_images_are_normalised_with_and_the_licence_move_along(tmp_path):
    about = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), Origin("somebody's weights", "apache-2.0")
    save_weights(tmp_path / "a.safetensors", {"network.a": torch.randn(2, 3)}, *about)
    move([str(tmp_path / "a.safetensors"), str(tmp_path / "a.pth")])
    move([str(tmp_path / "a.pth"), str(tmp_path / "b.safetensors")])
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    torch.save({"model": {}, "fbnetv5": 3}, tmp_path / "c.pth")
    with pytest.raises(InputError, match="cannot read the normalisation"):
        move_weights(tmp_path / "c.pth", tmp_path / "d.safetensors")


@needs_detectron2
def test_images_are_normalised_as_in_our_own_jobs():
    from fbnetv5.d2.task_runner import TaskRunner

    cfg = TaskRunner.get_default_cfg()
    assert cfg.INPUT.FORMAT == "RGB"
    assert [mean / 255 for mean in cfg.MODEL.PIXEL_MEAN] == pytest.approx(IMAGENET.mean, rel=1e-4)
    assert [std / 255 for std in cfg.MODEL.PIXEL_STD] == pytest.approx(IMAGENET.std, rel=1e-4)


def test_weights_move_there_and_back(tmp_path):
    weights = {"network.a": torch.randn(2, 3), "heads.b": torch.arange(3)}
    save_weights(tmp_path / "a.safetensors", weights)
    move([str(tmp_path / "a.safetensors"), str(tmp_path / "a.pth")])
    assert torch.load(tmp_path / "a.pth").keys() == {"model"}
    move([str(tmp_path / "a.pth"), str(tmp_path / "b.safetensors")])
    found = read_weights(tmp_path / "b.safetensors")
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    with pytest.raises(InputError, match="one should end in"):
        move_weights(tmp_path / "a.pth", tmp_path / "b.pth")
    with pytest.raises(InputError, match="there is no file"):
        move_weights(tmp_path / "absent.pth", tmp_path / "b.safetensors")


@needs_detectron2
@pytest.mark.parametrize("family", ["a", "a_c", "a_r", "c", "f"])
def test_the_recipes_for_ade20k_are_our_own(family):
    from fbnetv5.d2.task_runner import TaskRunner

    cfg = TaskRunner.get_default_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "d2go" / f"ade20k_{family}.yaml"))
    own = load_config(ROOT / "configs" / "train" / "seg" / f"ade20k_{family}.yaml")
    solver, inputs, crop = cfg.SOLVER, cfg.INPUT, f"[{own.data.crop}, {own.data.crop}]"
    assert (own.model.family, own.model.topology) == (cfg.MODEL.FBNETV5.FAMILY, cfg.MODEL.FBNETV5.TOPOLOGY)
    assert len(own.data.mask_classes) == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    assert (own.train.steps, own.train.batch_size) == (solver.MAX_ITER, solver.IMS_PER_BATCH)
    assert (own.optimizer.lr, own.optimizer.weight_decay) == (solver.BASE_LR, solver.WEIGHT_DECAY)
    assert [{"network": own.optimizer.backbone_factor}] == solver.LR_MULTIPLIER_OVERWRITE
    assert own.optimizer.clip_norm == solver.CLIP_GRADIENTS.CLIP_VALUE
    assert tuple(round(own.data.short_side * factor) for factor in own.data.scale) == inputs.MIN_SIZE_TRAIN
    assert (own.data.short_side, own.data.long_side) == (inputs.MIN_SIZE_TEST, inputs.MAX_SIZE_TEST)
    assert own.data.long_side == inputs.MAX_SIZE_TRAIN
    assert any(crop in augmentation for augmentation in cfg.D2GO_DATA.AUG_OPS.TRAIN)
