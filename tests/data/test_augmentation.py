from __future__ import annotations

from typing import Any

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, KEYPOINTS, LABEL, SEGMENTATION
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.augmentation import build_augmentation, check_augmentation, mirrored_classes


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"area": [0.5]}, r"data.area=\[0.5\]"),
        ({"area": [0.0, 1.0]}, "data.area="),
        ({"area": [0.5, 1.5]}, "data.area="),
        ({"area": [0.5, 1.0], "crop": None}, "data.area .* give data.crop"),
        ({"area": [0.5, 1.0], "scale": [0.5, 2.0]}, "data.scale"),
        ({"area": [0.5, 1.0], "long_side": 512}, "data.long_side"),
        ({"area": [0.5, 1.0], "crop_place": "center"}, "data.crop_place=center has no effect with data.area"),
        ({"scale": [2.0, 0.5]}, "data.scale="),
        ({"scale": [0.0, 1.0]}, "data.scale="),
        ({"scale": [1.0, float("inf")]}, "data.scale="),
        ({"scale": [0.5, 1.0, 2.0]}, "data.scale="),
        ({"short_side": 256, "long_side": 255}, "data.long_side=255"),
        ({"color": "randaugment"}, "data.color=randaugment"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_augmentation(DataConfig(**keys), [LABEL, BOXES, SEGMENTATION])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"area": [0.08, 1.0], "color": "randaugment"},
        {"scale": [0.1, 2.0], "color": "photometric"},
        {"short_side": 800, "long_side": 1333, "scale": [1.0, 1.0], "crop": None, "flip": False},
    ],
)
def test_others_describe_an_augmentation(keys: dict[str, Any]) -> None:
    assert build_augmentation(DataConfig(**keys), [LABEL], keep_unknown=True).keep_unknown


HANDS = {"label": ("none", "left", "right"), "boxes": ("right", "left", "cup"), "segmentation": ("left", "x", "right")}


def test_classes_of_a_side_change_places_where_an_image_is_mirrored() -> None:
    augmentation = build_augmentation(
        DataConfig(flip_pairs=[["left", "right"]], crop=None, short_side=32),
        [LABEL, BOXES, SEGMENTATION],
        classes=HANDS,
    )
    image = torch.zeros(3, 32, 40, dtype=torch.uint8)
    image[:, :, :20] = 255
    mask = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).repeat_interleave(10).repeat(32, 1)
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 20], [0, 0, 30, 30]])
    target = {"label": 1, "boxes": boxes, "box_labels": torch.tensor([0, 1, 2]), "segmentation": mask}
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        moved, found = augmentation(image, target, [LABEL, BOXES, SEGMENTATION])
        is_mirrored = bool(moved[0, 0, 0] < moved[0, 0, -1])
        seen.add(is_mirrored)
        assert found["label"] == (2 if is_mirrored else 1)
        assert found["box_labels"].tolist() == ([1, 0, 2] if is_mirrored else [0, 1, 2])
        assert found["segmentation"][0, ::10].tolist() == ([255, 0, 1, 2] if is_mirrored else [0, 1, 2, 255])
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"flip_pairs": [["left"]]}, "should be pairs"),
        ({"flip_pairs": [["left", "right"], ["right", "cup"]]}, "each class in one of them"),
        ({"flip_pairs": [["lefty", "righty"]]}, "no target has a class 'lefty'; did you mean 'left'"),
        ({"flip_pairs": [["left", "cup"]]}, "'label' has no class 'cup'"),
        ({"flip_pairs": [["left", "right"]], "flip": False}, "no effect with data.flip=false"),
    ],
)
def test_wrong_pairs_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mirrored_classes(DataConfig(**keys), HANDS)


@pytest.mark.parametrize("names", [("rank", "rkne", "lkne", "lank"), ("corner a", "corner b")])
def test_keypoints_are_not_mirrored_where_names_do_not_tell_the_sides(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"'keypoints' \(.*\) do not tell left from right.*data.flip=false"):
        build_augmentation(DataConfig(), [KEYPOINTS], classes={"keypoints": names})
    build_augmentation(DataConfig(flip=False), [KEYPOINTS], classes={"keypoints": names})
