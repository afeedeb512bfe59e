"""Masks drawn of outlines are those of COCO's own functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as oracle

from fbnetv5.base.errors import InputError
from fbnetv5.onboarding.found import Painting, Region
from fbnetv5.onboarding.painting import mask_of


def drawn(outline: object, width: int, height: int) -> np.ndarray:
    return mask_of(Path(), Painting((width, height), (Region("x", outline),)), {"x": 1})


@pytest.mark.parametrize("seed", range(20))
def test_polygons_are_cocos(seed):
    random = np.random.default_rng(seed)
    width, height = 70, 50
    centre, spread = random.uniform(0, 70, 2), random.uniform(3, 30)
    parts = [(centre + random.normal(0, spread, (random.integers(3, 9), 2))).ravel().tolist() for _ in range(2)]
    if seed % 2:  # as annotations are: within the image
        parts = [np.clip(np.reshape(part, (-1, 2)), 0, (width, height)).ravel().tolist() for part in parts]
        expected = oracle.decode(oracle.merge(oracle.frPyObjects(parts, height, width)))
        assert np.array_equal(drawn(parts, width, height), expected)
    assert drawn(parts, width, height).shape == (height, width)


def test_run_lengths_are_cocos():
    pixels = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (9, 13), np.uint8))
    runs = oracle.encode(pixels)
    assert np.array_equal(drawn({**runs, "counts": runs["counts"].decode()}, 13, 9), pixels)
    with pytest.raises(InputError, match="'x' cannot be drawn"):
        drawn({**runs, "counts": runs["counts"].decode()}, 12, 9)
