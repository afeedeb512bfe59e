"""PCK on people written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import KEYPOINTS
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.metrics.keypoint_truth import TruePerson, person_of, read_keypoint_truth
from fbnetv5.metrics.pck import correct_keypoints, pck, torso_size

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
NAMES = ("left_shoulder", "right_hip", "pelvis")
TRUTH = np.array([[10.0, 10, 2], [40, 50, 1], [30, 50, 2]])  # the torso is 50 long


def shifted(*distances: float) -> np.ndarray:
    """What is found at these distances from the truth."""
    return np.concatenate([TRUTH[:, :2] + np.array([[d * 0.6, d * 0.8] for d in distances]), np.ones((3, 1))], axis=1)


def test_a_keypoint_is_right_up_to_the_share_of_the_size():
    found = np.stack([shifted(5, 5.01, 0)[:, :2], shifted(0, 0, 0)[:, :2]])
    truth = np.stack([TRUTH, TRUTH * [1, 1, 0]])  # nothing of the second is labelled
    right, labelled = correct_keypoints(found, truth, np.array([10.0, 10]), 0.5)
    assert (right.tolist(), labelled.tolist()) == ([1, 0, 1], [1, 1, 1])
    right, labelled = correct_keypoints(found, truth, np.array([0.0, 10]), 0.5)
    assert labelled.tolist() == [0, 0, 0]  # the first has no size


def test_three_kinds_of_pck():
    person = TruePerson(TRUTH, (0.0, 0.0, 20.0, 80.0), None, head_size=30.0)  # thresholds 15, 10 and 16
    values = pck([shifted(14, 20, 0)], [person], NAMES)
    assert values["PCKh@0.5"] == 0.5  # MPII leaves the pelvis out of the mean
    assert values["PCKh@0.5/pelvis"] == 1
    assert values["tPCK@0.2"] == pytest.approx(1 / 3)
    assert values["PCK@0.2"] == pytest.approx(2 / 3)
    assert [values[f"PCK@0.2/{name}"] for name in NAMES] == [1, 0, 1]


def test_the_mean_counts_keypoints_and_not_people():
    one = person_of(np.array([[0.0, 0, 2], [0, 100, 2], [0, 0, 0]]))
    other = person_of(np.array([[0.0, 0, 2], [0, 0, 0], [100, 0, 2]]))
    far = np.full((3, 3), 500.0)
    values = pck([one.points, far], [one, other], NAMES)
    assert values["PCK@0.2"] == 0.5
    assert values["PCK@0.2/left_shoulder"] == 0.5
    assert values["PCK@0.2/right_hip"] == 1
    assert values["PCK@0.2/pelvis"] == 0
    assert "PCKh@0.5" not in values


def test_the_torso_is_the_longer_diagonal_of_those_that_are_labelled():
    names = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    points = np.array([[0.0, 0, 2], [3, 0, 2], [3, 4, 2], [8, 6, 2]])
    assert torso_size(person_of(points), names) == 10
    assert torso_size(person_of(points), ("L_Shoulder", "R_Shoulder", "hip.l", "hip.r")) == 10
    points[3, 2] = 0
    assert torso_size(person_of(points), names) == 4
    points[1, 2] = 0
    assert torso_size(person_of(points), names) == 0
    assert torso_size(person_of(points), ("a", "b", "c", "d")) == 0


def evaluated(file=None, name="val/a.jpg", found=None):
    evaluator = build_evaluator(KEYPOINTS, NAMES, file)
    prediction = torch.tensor(shifted(0, 0, 0) if found is None else found)
    targets = [{"keypoints": torch.tensor(TRUTH, dtype=torch.float32)}, {}]
    evaluator.update([prediction, prediction], targets, [name, "unlabelled"])
    return evaluator.compute(ALONE)


def write(tmp_path, **person):
    annotation = {"id": 4, "image_id": 2, "category_id": 1, "keypoints": [9.5, 9.5, 2, 39.5, 49.5, 1, 29.5, 49.5, 2]}
    document = {
        "images": [{"id": 2, "file_name": "a.jpg"}, {"id": 3, "file_name": "empty.jpg"}],
        "annotations": [annotation | {"bbox": [0, 0, 60, 60]} | person],
        "categories": [{"id": 1, "name": "person", "keypoints": list(NAMES)}],
    }
    path = tmp_path / "val.json"
    path.write_text(json.dumps(document))
    return path


def test_the_files_truth_counts_and_says_what_is_defined(tmp_path):
    path = write(tmp_path, head_size=12.0)
    truth = read_keypoint_truth(path, NAMES)
    assert truth.people["a.jpg"].points.tolist() == TRUTH.tolist()
    values = evaluated(path)
    assert values["PCKh@0.5"] == values["PCK@0.2"] == values["num_images"] == 1
    assert "AP" not in values  # there is no area
    assert evaluated(write(tmp_path, area=900))["AP"] == pytest.approx(1)
    assert evaluated()["AP"] == pytest.approx(1)  # of the extent of the points


def test_people_without_extent_are_left_out_of_ap():
    """OKS has no scale for points on a line; PCK takes theirs from the box."""
    evaluator = build_evaluator(KEYPOINTS, NAMES, None)
    line = TRUTH.copy()
    line[:, 1] = 9
    for name, truth in (("whole", TRUTH), ("line", line)):
        found = torch.tensor(truth, dtype=torch.float32) + torch.tensor([0.5, 0, 0])
        evaluator.update([found], [{"keypoints": torch.tensor(truth, dtype=torch.float32)}], [name])
    values = evaluator.compute(ALONE)
    assert (values["PCK@0.2"], values["AP"]) == (1, pytest.approx(1))


def test_what_cannot_be_judged_is_refused(tmp_path):
    path = write(tmp_path)
    with pytest.raises(InputError, match=r"no person for image 'other/b\.jpg'"):
        evaluated(path, name="other/b.jpg")
    with pytest.raises(ValueError, match=r"keypoints \[3, 3\] are needed"):
        evaluated(found=np.zeros((2, 3)))
    with pytest.raises(InputError, match="nothing to evaluate"):
        build_evaluator(KEYPOINTS, NAMES).compute(ALONE)
    with pytest.raises(InputError, match="should be numbers"):
        read_keypoint_truth(write(tmp_path, area="large"), NAMES)
