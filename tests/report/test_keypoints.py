"""Keypoints on disk are read back as what they were, also in the pixels of the image that a person was cut from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fbnetv5.base.distributed import World
from fbnetv5.base.types import KEYPOINTS, TargetKind
from fbnetv5.data.keypoints import read_keypoints
from fbnetv5.report.pictures import draw_prediction
from fbnetv5.report.predictions import PredictionWriter
from fbnetv5.report.skeletons import LEFT, RIGHT

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
NAMES = ("left_hip", "left_knee", "right_hip")
FOUND = torch.tensor([[10.5, 20.25, 0.9], [30, 40, 0.1], [5, 6, 0.6]])


def write(folder, names=("val/a.jpg",), **options):
    writer = PredictionWriter(folder, KEYPOINTS, NAMES, ALONE, **options)
    writer.add(list(names), [FOUND] * len(names), [(48, 64)] * len(names))
    writer.close()
    return [json.loads((folder / f"{name}.json").read_text()) for name in ("predictions", "results")]


def test_predictions_are_a_coco_file(tmp_path):
    content, results = write(tmp_path)
    assert content["categories"][0]["keypoints"] == list(NAMES)
    (person,) = content["annotations"]
    assert person["keypoints"] == [10, 19.75, 0.9, 29.5, 39.5, 0.1, 4.5, 5.5, 0.6]  # from the centre of the first pixel
    assert person["bbox"] == [4.5, 5.5, 25, 34]
    assert person["score"] == pytest.approx(0.75)  # of the two that are certain
    assert results == [{key: person[key] for key in ("image_id", "category_id", "keypoints", "score")}]
    for entry in content["annotations"]:  # as labels, with scores made visibilities
        entry["keypoints"][2::3] = [2, 2, 2]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    names, images = read_keypoints(tmp_path / "labels.json")
    assert names == NAMES
    np.testing.assert_allclose(np.array(images["val/a.jpg"].people[0].points)[:, :2], FOUND[:, :2])


def test_results_are_in_the_image_that_the_person_was_cut_from(tmp_path):
    annotation = {"id": 1, "image_id": 1, "category_id": 4, "keypoints": [1, 1, 2] * 3, "bbox": [0, 0, 9, 9]}
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "source_id": 139, "offset": [-20, 100]}],
        "annotations": [annotation],
        "categories": [{"id": 4, "name": "person", "keypoints": list(NAMES)}],
    }
    (tmp_path / "val.json").write_text(json.dumps(truth))
    _, (result,) = write(tmp_path / "out", coco_json=tmp_path / "val.json")
    assert (result["image_id"], result["category_id"]) == (139, 4)
    assert result["keypoints"] == [-10, 119.75, 0.9, 9.5, 139.5, 0.1, -15.5, 105.5, 0.6]


def test_a_picture_shows_both_sides_in_their_colours_beside_the_truth():
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    truth = {"keypoints": torch.tensor([[32.0, 24, 2], [32, 40, 1], [0, 0, 0]])}
    alone = draw_prediction(image, FOUND, TargetKind.KEYPOINTS, NAMES)
    both = np.asarray(draw_prediction(image, FOUND, TargetKind.KEYPOINTS, NAMES, truth))
    assert both.shape[1] > 2 * alone.width
    prediction, beside = both[:, : alone.width].reshape(-1, 3), both[:, alone.width :].reshape(-1, 3)
    for colour, times in ((LEFT, (True, True)), (RIGHT, (True, False))):  # the right hip is unlabelled
        assert tuple((part == colour).all(1).any() for part in (prediction, beside)) == times
