"""Models of this package as teachers: what they predict, with probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.labeling.teachers import TrainedBoxes, TrainedPixels
from fbnetv5.model.folder import save_model
from fbnetv5.model.task_net import TaskNet
from tests.labeling.teachers.pictures import pictures
from tests.model.test_task_net import build


def saved(folder: str, task: str) -> TaskNet:
    """Write a small model whose scores differ, and return it."""
    model = build(task)
    with forked(0):
        for parameter in model.head.parameters():
            if parameter.dim() > 1:
                torch.nn.init.xavier_normal_(parameter, gain=2)
    save_model(folder, model, model.spec)
    return model.eval()


def test_boxes_are_those_of_the_model(tmp_path):
    model = saved(tmp_path, "det")
    teacher = TrainedBoxes(str(tmp_path))
    assert teacher.classes == ("a", "b", "c")
    assert any(len(found.boxes) for found in teacher(pictures()))
    for image, found in zip(pictures(), teacher(pictures()), strict=True):
        expected = model.predict_tensors(image)
        assert torch.equal(found.labels, expected["box_labels"])
        torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(found.scores, expected["scores"])


def test_pixels_are_those_of_the_model(tmp_path):
    model = saved(tmp_path, "seg")
    teacher = TrainedPixels(str(tmp_path), class_map={"c": "x", "a": "y", "b": None})
    assert teacher.classes == ("x", "y")
    expected_ids: Tensor = torch.tensor([1, 0, 0])  # of a, b (dropped: probability 0) and c
    seen = set()
    for image, found in zip(pictures(), teacher(pictures()), strict=True):
        labels = model.predict_tensors(image).long()
        seen |= set(labels.unique().tolist())
        assert (found.labels == expected_ids[labels]).float().mean() > 0.999
        assert ((found.scores == 0) == (labels == 1)).float().mean() > 0.999
        assert found.scores.max() <= 1
        assert found.scores[labels != 1].gt(1 / 3).all()  # the likeliest of three
    assert len(seen) > 1


def test_bfloat16_is_near_float32(tmp_path):
    saved(tmp_path, "seg")
    exact, rounded = (TrainedPixels(str(tmp_path), precision=p)(pictures())[0] for p in ("float32", "bfloat16"))
    assert (exact.scores - rounded.scores).abs().mean() < 0.05
    assert not torch.equal(exact.scores, rounded.scores)


@pytest.mark.parametrize(
    ("task", "build_teacher"), [("seg", TrainedBoxes), ("cls", TrainedBoxes), ("det", TrainedPixels)]
)
def test_models_for_something_else_are_refused(tmp_path, task, build_teacher):
    saved(tmp_path, task)
    with pytest.raises(InputError, match="choose another teacher"):
        build_teacher(str(tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config.json: cannot be read"):
        TrainedBoxes(str(tmp_path))
