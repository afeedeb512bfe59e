"""Keypoints: read from COCO's json, kept in the index, and moved with their image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.seeding import forked
from fbnetv5.base.types import BOXES, KEYPOINTS
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.augmentation import build_augmentation
from fbnetv5.data.build import build_index
from fbnetv5.data.geometry import Mirror, Turn
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.interchange import export_index, import_index
from fbnetv5.data.keypoints import coco_points, mirror_order, other_side, parse_points, read_keypoints
from fbnetv5.data.transforms import JointTransform, train_transform

NAMES = ("nose", "left_hand", "right_hand")
WIDTH, HEIGHT = 20, 12


def content(**changes: Any) -> dict[str, Any]:
    """Two images, one with a person whose right hand is unlabelled; category 2 has no keypoints."""
    person = {"id": 1, "image_id": 5, "category_id": 7, "keypoints": [3, 4, 2, 9.5, 0, 1, 8, 8, 0]}
    return {
        "images": [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "b.png"}],
        "annotations": [person, {"id": 2, "image_id": 6, "category_id": 2, "bbox": [1, 1, 2, 2]}],
        "categories": [{"id": 2, "name": "ball"}, {"id": 7, "name": "person", "keypoints": list(NAMES)}],
    } | changes


def write(folder: Path, document: dict[str, Any]) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / name)
    path = folder / "keypoints.json"
    path.write_text(json.dumps(document))
    return path


def test_points_are_counted_from_the_corner_and_unlabelled_ones_are_zero(tmp_path):
    names, images = read_keypoints(write(tmp_path, content()))
    assert names == NAMES
    assert images["a.png"].people[0].points == [(3.5, 4.5, 2), (10.0, 0.5, 1), (0.0, 0.0, 0)]
    assert images["b.png"].people == []


def test_writing_is_the_inverse_of_reading():
    values = [3, 4, 2, 9.25, 0, 1, 0, 0, 0]
    assert coco_points(parse_points(values, 3, "here")) == values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 7, "name": "person"}]}, "0 categories name 'keypoints'"),
        ({"categories": [{"id": 7, "name": "x", "keypoints": ["a", "a"]}]}, "distinct names"),
        ({"annotations": [{"id": 1, "image_id": 9, "category_id": 7}]}, "image id 9"),
        ({"annotations": [{"id": 1, "image_id": 5, "category_id": 7, "keypoints": [1, 2]}]}, "annotation 1 needs"),
        ({"annotations": [{"id": 1, "image_id": 5, "category_id": 7, "keypoints": [1, 2, 3] * 3}]}, "visibility is 3"),
        ({"annotations": [content()["annotations"][0], content()["annotations"][0] | {"id": 3}]}, "shows 2 people"),
    ],
)
def test_wrong_files_are_refused_with_the_reason(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_keypoints(write(tmp_path, content(**changes)))


def test_another_split_must_have_the_same_keypoints(tmp_path):
    with pytest.raises(InputError, match="those of the training split tail"):
        read_keypoints(write(tmp_path, content()), classes=["tail"])


def test_crowds_and_people_without_a_labelled_point_are_no_people(tmp_path):
    person = content()["annotations"][0]
    others = [person | {"id": 3, "iscrowd": 1}, person | {"id": 4, "keypoints": [0] * 9}]
    _, images = read_keypoints(write(tmp_path, content(annotations=[person, *others])))
    assert len(images["a.png"].people) == 1


def test_the_index_keeps_them_and_loads_them(tmp_path):
    write(tmp_path, content())
    build_index(tmp_path, "images", keypoints="keypoints.json").write(tmp_path / "index.parquet")
    source = IndexSource(Index.read(tmp_path / "index.parquet"), tmp_path)
    assert source.classes == {"keypoints": NAMES}
    assert source.labelled("keypoints") == [0]
    assert source.load(0).target["keypoints"].tolist() == [[3.5, 4.5, 2], [10, 0.5, 1], [0, 0, 0]]
    assert source.load(1).target == {}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 2, 2]], "1 keypoints instead of 3"),
        ([[1, 2, 2], [float("nan"), 1, 1], [0, 0, 0]], "should be x, y and 0"),
        ([[1, 2, 2], [1, 1, 4], [0, 0, 0]], "should be x, y and 0"),
    ],
)
def test_wrong_rows_of_an_index_are_refused(points, message):
    rows = [{"path": "a.png"}, {"path": "b.png", "keypoints": points}]
    with pytest.raises(InputError, match=message):
        Index.from_rows(rows, [KEYPOINTS], {"keypoints": NAMES}, "test")


def test_an_exported_index_is_imported_as_it_was(tmp_path):
    random = np.random.default_rng(0)
    points = random.uniform(0, 300, (5, 3, 3)).astype(np.float32)
    points[:, :, 2] = random.integers(1, 3, (5, 3))
    points[0] = points[1, 2] = 0
    rows = [{"path": f"{i}.png", "keypoints": value.tolist()} for i, value in enumerate(points)]
    rows += [{"path": "unlabelled.png"}, {"path": "box.png", "boxes": [[1, 2, 3, 4]], "box_labels": [0]}]
    index = Index.from_rows(rows, [BOXES, KEYPOINTS], {"boxes": ["ball"], "keypoints": NAMES}, "test")
    export_index(index, tmp_path, tmp_path / "out")
    back = import_index(tmp_path / "out")
    assert back.table.equals(index.table)
    assert (back.targets, back.classes) == (index.targets, index.classes)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_hand", "right_hand"),
        ("upper_left_lip", "upper_right_lip"),
        ("left_eye_left_corner", "right_eye_right_corner"),
        ("Left Hip", "Right Hip"),
        ("EYE_LEFT", "EYE_RIGHT"),
        ("topleft", "topright"),
        ("earLeft", "earRight"),
        ("L_Eye", "R_Eye"),
        ("l.eye", "r.eye"),
        ("LEye", "REye"),
        ("lEye", "rEye"),
        ("eye-l", "eye-r"),
        ("eyeL", "eyeR"),
    ],
)
def test_left_and_right_change_places(left, right):
    assert (other_side(left), other_side(right)) == (right, left)
    assert mirror_order(("nose", left, right)) == [0, 2, 1]
    with pytest.raises(InputError, match=f"'{left}'"):
        mirror_order(("nose", left))


@pytest.mark.parametrize("name", ["nose", "rear", "Lip", "l", "R", "tail", "a_l_b", "RGB", "ear_rl"])
def test_names_without_a_side_stay(name):
    assert other_side(name) == name


def dotted(points: Tensor) -> Tensor:
    """The mean colour with a bright 2 x 2 dot around each point, each in a channel of its own."""
    image = torch.tensor(IMAGENET.colour, dtype=torch.uint8)[:, None, None].repeat(1, 48, 64)
    for channel, (x, y, _) in enumerate(points.tolist()):
        image[channel, int(y) - 1 : int(y) + 1, int(x) - 1 : int(x) + 1] = 255
    return image


def centres(image: Tensor) -> Tensor:
    """The centres of brightness, x and y from the image's corner, of each channel [3, 2]."""
    weights = (image - 0.05).clamp(min=0)  # the mean colour is 0
    rows, columns = torch.arange(image.shape[1]) + 0.5, torch.arange(image.shape[2]) + 0.5
    total = weights.sum(dim=(1, 2))
    return torch.stack([(weights.sum(1) * columns).sum(1) / total, (weights.sum(2) * rows).sum(1) / total], 1)


POINTS = torch.tensor([[32.0, 24, 2], [20, 14, 1], [44, 30, 2]])


def moved(transform: JointTransform, points: Tensor, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    with forked(seed):
        image, target = transform(dotted(points), {"keypoints": points}, [KEYPOINTS])
    return image, target.get("keypoints")


@pytest.mark.parametrize("seed", range(12))
def test_points_stay_on_what_they_mark(seed):
    transform = train_transform(72, None, scale=(0.7, 1.4), rotation=20, mirrored={"keypoints": [0, 2, 1]})
    image, points = moved(transform, POINTS, seed)
    assert points is not None
    found = centres(image)
    (x1, y1), (x2, y2) = (found[1:] - found[0]).tolist()
    is_mirrored = x1 * y2 - y1 * x2 < 0  # it is above 0 for POINTS
    order = [0, 2, 1] if is_mirrored else [0, 1, 2]  # channel 1 shows what is the other hand now
    assert (found[order] - points[:, :2]).abs().max() < 0.6
    assert points[:, 2].tolist() == POINTS[order, 2].tolist()


def test_a_mirror_takes_x_to_the_width_less_x_and_swaps_names_with_their_visibility():
    image, points = moved(JointTransform([Mirror(p=1.0)], mirrored={"keypoints": [0, 2, 1]}), POINTS)
    assert points.tolist() == [[32, 24, 2], [64 - 44, 30, 2], [64 - 20, 14, 1]]
    torch.testing.assert_close(centres(image)[0], torch.tensor([32.0, 24.0]))


def test_names_stay_where_nothing_was_mirrored():
    _, points = moved(JointTransform([Mirror(p=0.0)], mirrored={"keypoints": [0, 2, 1]}), POINTS)
    assert torch.equal(points, POINTS)


def test_a_turn_by_a_right_angle_about_the_centre():
    turn = Turn(1.0)
    turn.make_params = lambda flat_inputs: {"angle": 90.0}  # counter-clockwise
    image, points = moved(JointTransform([turn]), POINTS)
    # (dx, dy) from the centre (32, 24) goes to (dy, -dx); the last, (12, 6), to (6, -12)
    assert points.numpy() == pytest.approx(np.array([[32, 24, 2], [22, 36, 1], [38, 12, 2]]), abs=1e-4)
    assert (centres(image) - points[:, :2]).abs().max() < 0.1


def test_six_images_of_ten_are_turned_by_at_most_twice_the_deviation():
    turn = Turn(10.0)
    with forked(0):
        angles = [abs(turn.make_params([])["angle"]) for _ in range(400)]
    assert 0.53 < sum(angle > 0 for angle in angles) / 400 < 0.67
    assert 15 < max(angles) <= 20


def test_points_that_leave_the_crop_are_unlabelled():
    transform = train_transform(48, 32, flip=False)
    for seed in range(20):
        with forked(seed):
            image, target = transform(dotted(POINTS), {"keypoints": POINTS}, [KEYPOINTS])
        bright = image.amax(dim=(1, 2)) - image.amin(dim=(1, 2)) > 1
        points = target["keypoints"]
        assert bright.tolist() == (points[:, 2] > 0).tolist()
        assert (points[points[:, 2] == 0] == 0).all()


def test_an_image_that_lost_all_points_is_unlabelled_unless_it_is_to_stay():
    far = torch.tensor([[1.0, 1, 2], [2, 1, 2], [0, 0, 0]])
    options = {"flip": False, "centred": True}
    assert moved(train_transform(48, 32, **options), far)[1] is None
    _, points = moved(train_transform(48, 32, **options, keep_unknown=True), far)
    assert torch.equal(points, torch.zeros(3, 3))


def test_a_centred_crop_of_another_width():
    image, points = moved(train_transform(48, 32, crop_width=40, centred=True, flip=False), POINTS)
    assert image.shape == (3, 32, 40)
    assert points[:, :2].tolist() == [[20, 16], [8, 6], [32, 22]]


def test_the_config_mirrors_by_the_names_of_the_source():
    points = torch.tensor([[32.0, 24, 2], [20, 14, 2], [44, 30, 2]])
    config = DataConfig(short_side=48, crop=None)
    augment = build_augmentation(config, [KEYPOINTS], classes={"keypoints": NAMES})
    results = {tuple(moved(augment, points, seed)[1].flatten().tolist()) for seed in range(12)}
    assert results == {(32, 24, 2, 20, 14, 2, 44, 30, 2), (32, 24, 2, 20, 30, 2, 44, 14, 2)}
    with pytest.raises(InputError, match=r"data\.flip=false"):
        build_augmentation(config, [KEYPOINTS], classes={"keypoints": ("left_hand",)})
    config.flip = False
    build_augmentation(config, [KEYPOINTS], classes={"keypoints": ("left_hand",)})


def test_boxes_are_not_turned():
    with pytest.raises(InputError, match=r"data\.rotation=30"):
        build_augmentation(DataConfig(rotation=30), [BOXES])
    with pytest.raises(InputError, match=r"data\.crop_width=96"):
        build_augmentation(DataConfig(crop_width=96, crop=None), [BOXES])
