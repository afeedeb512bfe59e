"""Masks that tell nothing are found before a run begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL, SEGMENTATION
from fbnetv5.data import mask_checks
from fbnetv5.data.images import read_mask
from fbnetv5.data.index import Index
from fbnetv5.data.index_checks import require_several
from fbnetv5.data.mask_checks import check_masks

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
    monkeypatch.setattr(mask_checks, "mask_values", lambda path: opened.append(path.name) or {len(opened)})
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
