from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

from fbnetv5.base.errors import InputError
from fbnetv5.data.geometry import Resize, resized_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),  # 1066.67
        ((640, 480), (1067, 800)),
        ((427, 640), (800, 1199)),  # 1199.06
        ((375, 500), (800, 1067)),
        ((333, 500), (800, 1201)),  # 1201.2
        ((400, 400), (800, 800)),
        ((300, 900), (444, 1333)),  # the long side decides: 444.33
        ((375, 626), (799, 1333)),  # 798.5 is rounded up
        ((8, 3000), (4, 1333)),
        ((1, 4000), (1, 1333)),  # 0.33, but an image has a pixel
        ((1, 1), (800, 800)),
    ],
)
def test_sizes_are_those_of_detectron2(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(*size, 800, 1333) == expected


def test_without_a_limit_the_short_side_is_what_was_asked_for() -> None:
    for width in range(33, 400, 7):
        height, resized = resized_size(33, width, 50)
        assert height == 50
        assert abs(resized - 50 * width / 33) <= 0.5


def test_a_factor_acts_on_both_limits() -> None:
    assert resized_size(100, 150, 200, 120, factor=0.5) == resized_size(100, 150, 100, 120) == (80, 120)


def test_rounding_is_torchvisions_unless_asked_for() -> None:
    image = tv_tensors.Image(torch.zeros(3, 48, 65, dtype=torch.uint8))  # 40 / 48 * 65 = 54.17; 34 / 48 * 65 = 46.04
    assert Resize(47)(image).shape[-2:] == (47, 63)  # 63.6
    assert Resize(47, nearest_size=True)(image).shape[-2:] == (47, 64)
    assert Resize(47, long_side=100)(image).shape[-2:] == (47, 64)


def test_impossible_sides_are_refused() -> None:
    with pytest.raises(InputError, match="long_side 0"):
        Resize(8, long_side=0)
