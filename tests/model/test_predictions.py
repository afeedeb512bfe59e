"""Predictions as objects: what they hold is what the head predicts."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.base.types import TargetKind
from fbnetv5.model.predictions import BoxPrediction, ClassPrediction, MaskPrediction, as_prediction
from tests.model.test_task_net import HEADS, build, picture

NAMES = ("a", "b", "c")
PIXELS = torch.tensor([[0, 2], [2, 2]], dtype=torch.uint8)
TENSORS = {
    TargetKind.SCALAR: torch.tensor([0.2, 0.7, 0.1]),
    TargetKind.BOXES: {
        "boxes": torch.arange(8.0).reshape(2, 4),
        "box_labels": torch.tensor([2, 0]),
        "scores": torch.tensor([0.9, 0.4]),
    },
    TargetKind.MASK: PIXELS,
    TargetKind.DENSE: torch.ones(2, 2),
    TargetKind.KEYPOINTS: torch.tensor([[1.0, 2.0, 0.5], [3.0, 4.0, 0.6], [5.0, 6.0, 0.7]]),
}


@pytest.mark.parametrize("task", ["cls", "det", "seg"])
def test_a_model_predicts_objects_of_what_its_head_predicts(task):
    head = HEADS[task] | ({"score_threshold": 0.0} if task == "det" else {})
    model, images = build(task, head=head), [picture(), picture(64, 80)]
    together = model.predict(images)
    for image, found in zip(images, together, strict=True):
        tensors, alone = model.predict_tensors(image), model.predict(image)
        assert type(alone) is type(found)
        if isinstance(found, ClassPrediction):
            assert torch.equal(found.probabilities, tensors)
            assert found.name == NAMES[int(tensors.argmax())]
        elif isinstance(found, BoxPrediction):
            assert len(found) > 0
            assert all(torch.equal(found[key], tensors[key]) for key in ("boxes", "box_labels", "scores"))
        else:
            assert torch.equal(found.segmentation, tensors)
    assert model.predict(()) == []


def test_names_shares_and_the_likeliest():
    label, boxes, mask, depth, pose = (as_prediction(TENSORS[kind], kind, NAMES) for kind in TENSORS)
    assert (label.label, label.name, label.score) == (1, "b", pytest.approx(0.7))
    assert [name for name, _ in label.top(2)] == ["b", "a"]
    assert len(label.top()) == 3
    assert boxes.names == ["c", "a"]
    assert boxes.above(0.5).names == ["c"]
    assert boxes.above(0.95).boxes.shape == (0, 4)
    assert mask.shares == {"c": 0.75, "a": 0.25}
    assert depth.values.shape == (2, 2)
    assert pose.points["b"] == (3.0, 4.0)


def test_they_are_shown_in_a_line():
    assert repr(as_prediction(TENSORS[TargetKind.SCALAR], TargetKind.SCALAR, NAMES)) == "ClassPrediction(b 0.70)"
    boxes = as_prediction(TENSORS[TargetKind.BOXES], TargetKind.BOXES, NAMES)
    assert repr(boxes) == "BoxPrediction(2 objects: c 0.90, a 0.40)"
    assert repr(boxes.above(1)) == "BoxPrediction(0 objects)"
    assert repr(MaskPrediction(PIXELS, NAMES)) == "MaskPrediction(2x2: c 75%, a 25%)"
