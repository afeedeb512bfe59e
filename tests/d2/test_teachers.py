"""Detectron2's models as teachers against its own predictor; skipped where Detectron2 is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.d2.teachers import Detectron2Boxes, Detectron2Pixels, read_config
from tests.labeling.teachers.pictures import pictures

INSTALLED = importlib.util.find_spec("detectron2") is not None
needs_detectron2 = pytest.mark.skipif(not INSTALLED, reason="detectron2 is not installed")

SMALL = """
INPUT: {MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 96}
DATASETS: {TEST: [coco_2017_val_panoptic_separated]}
MODEL:
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res2, res3, res4, res5]}
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 16}
"""
RCNN = f"""{SMALL}
  META_ARCHITECTURE: GeneralizedRCNN
  ANCHOR_GENERATOR: {{SIZES: [[16], [32], [64], [128], [256]]}}
  RPN: {{IN_FEATURES: [p2, p3, p4, p5, p6], POST_NMS_TOPK_TEST: 50}}
  ROI_HEADS: {{NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], SCORE_THRESH_TEST: 0.0}}
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 16, POOLER_RESOLUTION: 7}}
TEST: {{DETECTIONS_PER_IMAGE: 9}}
"""
SEMANTIC = f"""{SMALL}
  META_ARCHITECTURE: SemanticSegmentor
  SEM_SEG_HEAD: {{NUM_CLASSES: 54, IN_FEATURES: [p2, p3, p4, p5], CONVS_DIM: 32}}
"""


def saved(folder: Path, config: str) -> tuple[str, str]:
    """Write a config and random weights, and return both files."""
    from detectron2.modeling import build_model

    (folder / "config.yaml").write_text(config)
    built = read_config(str(folder / "config.yaml"), None, (), {"MODEL.DEVICE": "cpu"})
    with forked(0):
        model = build_model(built)
        for name, parameter in model.named_parameters():
            if "cls_score.weight" in name or "predictor.weight" in name:  # scores that differ, and are not all 1
                torch.nn.init.xavier_normal_(parameter, gain=0.01 if "cls_score" in name else 1)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return str(folder / "config.yaml"), str(folder / "model.pth")


def predict(config_file: str, weights: str, image: torch.Tensor) -> dict[str, Any]:
    from detectron2.engine import DefaultPredictor

    config = read_config(config_file, None, (), {"MODEL.DEVICE": "cpu", "MODEL.WEIGHTS": weights})
    result: dict[str, Any] = DefaultPredictor(config)(image.permute(1, 2, 0).numpy()[:, :, ::-1])
    return result


@needs_detectron2
@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_boxes_are_those_of_detectron2s_predictor(tmp_path, order):
    files = saved(tmp_path, RCNN.replace("INPUT: {", f"INPUT: {{FORMAT: {order}, "))
    teacher = Detectron2Boxes(*files)
    assert teacher.classes[:2] == ("person", "bicycle")
    for image, found in zip(pictures(), teacher(pictures()), strict=True):
        expected = predict(*files, image)["instances"]
        assert len(found.boxes) > 0
        assert torch.equal(found.labels, expected.pred_classes)
        torch.testing.assert_close(found.boxes, expected.pred_boxes.tensor, atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-3)


@needs_detectron2
def test_pixels_are_those_of_detectron2s_predictor(tmp_path):
    files = saved(tmp_path, SEMANTIC)
    teacher = Detectron2Pixels(*files, class_map={"banner": "sign"}, others="keep")
    assert len(teacher.classes) == 54
    assert teacher.classes[0] == "sign"
    for image, found in zip(pictures(), teacher(pictures()), strict=True):
        expected = predict(*files, image)["sem_seg"].softmax(0).max(0)
        assert len(found.labels.unique()) > 1
        torch.testing.assert_close(found.scores, expected.values, atol=1e-4, rtol=1e-3)


@needs_detectron2
def test_scores_of_mask_classification_are_divided_by_their_sum(tmp_path):
    teacher = Detectron2Pixels(*saved(tmp_path, SEMANTIC), classes=[str(number) for number in range(54)])
    teacher.has_logits = False
    size = tuple(pictures()[0].shape[1:])
    teacher.model = lambda batch: [{"sem_seg": torch.arange(54.0)[:, None, None].expand(-1, *size)} for _ in batch]
    (found,) = teacher(pictures()[:1])
    assert found.labels.eq(53).all()
    torch.testing.assert_close(found.scores, torch.full(size, 53 / sum(range(54))))


def refused(message: str, build: type, *args: str, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(*args, **options)
    assert "\n" not in str(caught.value)


@needs_detectron2
def test_what_cannot_teach_is_refused(tmp_path):
    config, weights = saved(tmp_path, RCNN)
    refused("there is no config absent.yaml", Detectron2Boxes, "absent.yaml", weights)
    refused("there is no folder .*absent with a project", Detectron2Boxes, config, weights, project="absent")
    refused("cannot import absent.add: No module", Detectron2Boxes, config, weights, add_config=["absent.add"])
    refused("add_config adds the keys", Detectron2Boxes, config, weights, overrides={"MODEL.CENTERNET": 1})
    refused(
        r"stuff_classes of \['absent'\]; give classes",
        Detectron2Pixels,
        config,
        weights,
        overrides={"DATASETS.TEST": ["absent"]},
    )
    few = Detectron2Boxes(config, weights, classes=["a"])
    refused("there are 1 names; give classes", lambda: few(pictures()))
    wrong = Detectron2Pixels(config, weights)
    refused("classifies no pixels", lambda: wrong(pictures()))
    (tmp_path / "code.yaml").write_text('A: !!python/object/apply:eval ["1 + 1"]\n')
    refused("holds Python code; set trust_config: true", Detectron2Boxes, str(tmp_path / "code.yaml"), weights)
