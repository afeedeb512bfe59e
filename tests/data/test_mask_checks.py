"""Masks that tell nothing are found before a run begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL, SEGMENTATION
from fbnetv5.data import mask_checks
from fbnetv5.data.images import mask_values, read_mask
from fbnetv5.data.index import Index
from fbnetv5.data.index_checks import require_several
from fbnetv5.data.mask_checks import check_masks
from fbnetv5.data.mask_codes import mask_code

CLASSES = {"segmentation": ("sky", "ground")}


def index_of(root: Path, *pixels: int | None) -> Index:
    """An index of masks of a single value each; None: an image without one."""
    rows = []
    for number, value in enumerate(pixels):
        row = {"path": f"{number}.jpg", "segmentation": None if value is None else f"{number}.png"}
        if value is not None:
            Image.new("L", (4, 4), value).save(root / f"{number}.png")
        rows.append(row)
    return Index.from_rows(rows, [SEGMENTATION], CLASSES, "index")


@pytest.mark.parametrize(
    ("values", "num_classes", "message"),
    [
        ((255, None, 255), 2, "2 masks of 'segmentation', such as 0.png, .* all of their pixels are 255"),
        ((255, 255), 1, "all of their pixels are 255"),
        ((1, 1, 1, 1, 1, 1, 1, 255), 2, "8 masks .* show class 'ground' alone"),
        ((7,) * 8, 2, "class '7' alone"),
    ],
)
def test_masks_that_tell_nothing_are_refused(tmp_path: Path, values, num_classes, message):
    with pytest.raises(InputError, match=f"index: .*{message}"):
        check_masks(index_of(tmp_path, *values), tmp_path, num_classes=num_classes)


def test_masks_that_tell_something_are_not_all_opened(tmp_path: Path, monkeypatch):
    check_masks(index_of(tmp_path, None, 255, 1), tmp_path, num_classes=1)
    check_masks(index_of(tmp_path, None), tmp_path)
    check_masks(index_of(tmp_path, *[1] * 7), tmp_path)  # so few may do so by chance
    opened = []
    monkeypatch.setattr(mask_checks, "mask_values", lambda path, _: opened.append(path.name) or {len(opened)})
    check_masks(index_of(tmp_path, *[0] * 300), tmp_path)
    assert opened == ["0.png", "1.png"]


def test_damaged_masks_are_left_to_who_loads_them(tmp_path: Path):
    index = index_of(tmp_path, 1)
    (tmp_path / "0.png").write_bytes(b"damaged")
    check_masks(index, tmp_path)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), 0.7, np.float32), "whole numbers; this one is F"),
        (np.full((4, 4), -1, np.int32), "mask value -1 is neither a class"),
        (np.full((4, 4), 256, np.int32), "mask value 256"),
    ],
)
def test_a_tiff_of_fractions_or_of_values_below_zero_is_no_mask(tmp_path: Path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "m.tiff")
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.tiff", 2, (4, 4))


@pytest.mark.parametrize("target", [LABEL, SEGMENTATION])
def test_one_class_is_nothing_to_learn(target):
    require_several(target, ("a", "b"))
    with pytest.raises(InputError, match=f"'{target.name}' has one class, 'a', and nothing can be learnt"):
        require_several(target, ("a",))


@pytest.mark.parametrize(
    ("values", "ignore", "pixels", "expected"),
    [
        ({}, [1], [0, 1, 2, 255], [0, 255, 2, 255]),
        ({0: 255, 7: 0, "8": 1}, [3], [0, 7, 8, 3, 255], [255, 0, 1, 255, 255]),
        ({"#804080": 1, "#ff0001": 0}, ["#000000"], [0x804080, 0xFF0001, 0], [1, 0, 255]),
    ],
)
def test_masks_are_read_by_values_and_colours(tmp_path, values, ignore, pixels, expected):
    if "#804080" in values:
        array = np.array([[[p >> 16, p >> 8 & 255, p & 255] for p in pixels]], np.uint8)
    else:
        array = np.array([pixels], np.uint8)
    Image.fromarray(array).save(tmp_path / "m.png")
    code = mask_code(values, ignore, 3)
    assert read_mask(tmp_path / "m.png", 3, (len(pixels), 1), code).tolist() == [expected]
    assert mask_values(tmp_path / "m.png", code) == set(expected) - {255}


@pytest.mark.parametrize(
    ("values", "ignore", "message"),
    [
        ({7: 3}, [], "data.mask_values: 7 becomes 3"),
        ({7: 0, "#000000": 1}, [], "colours .* and grey values"),
        ({}, ["#000000"], "colours without a class"),
        ({"road": 0}, [], "data.mask_values: road should be"),
        ({0: 0}, [256], "data.mask_ignore: 256 should be"),
    ],
)
def test_a_wrong_meaning_of_masks_is_refused(values, ignore, message):
    with pytest.raises(InputError, match=message):
        mask_code(values, ignore, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [({1: 0}, "m.png: mask value 4 is neither in data.mask_values"), ({"#ffffff": 0}, "m.png: colour #040404 is")],
)
def test_a_pixel_without_a_meaning_is_refused(tmp_path, values, message):
    Image.new("L", (2, 2), 4).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.png", 3, (2, 2), mask_code(values, [], 3))
