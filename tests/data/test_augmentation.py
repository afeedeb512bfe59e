from __future__ import annotations

from typing import Any

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.augmentation import build_augmentation, check_augmentation


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"area": [0.5]}, r"data.area=\[0.5\]"),
        ({"area": [0.0, 1.0]}, "data.area="),
        ({"area": [0.5, 1.5]}, "data.area="),
        ({"area": [0.5, 1.0], "crop": None}, "data.area .* give data.crop"),
        ({"area": [0.5, 1.0], "scale": [0.5, 2.0]}, "data.scale"),
        ({"area": [0.5, 1.0], "long_side": 512}, "data.long_side"),
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
