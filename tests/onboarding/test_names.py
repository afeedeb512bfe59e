"""Which file gives the names of classes: by its whole name, of several the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from fbnetv5.onboarding.survey import survey
from tests.onboarding.folders import HEIGHT, WIDTH, mask, photos, text


@pytest.fixture
def boxes_and_masks(root):
    photos(root / "images", [f"{k}.jpg" for k in range(4)])
    for k in range(4):
        text(root / "labels" / f"{k}.txt", f"{k % 2} 0.5 0.5 0.5 0.5\n")
        mask(root / "masks" / f"{k}.png", np.full((HEIGHT, WIDTH), k % 2))
    return root


MADE_UP = ("class_0", "class_1")


@pytest.mark.parametrize(
    ("files", "of_boxes", "of_masks"),
    [
        ({"mask_classes.txt": "sea\nland"}, MADE_UP, ("sea", "land")),
        ({"classes.txt": "cat\ndog", "mask_classes.txt": "sea\nland"}, ("cat", "dog"), ("sea", "land")),
        ({"a/mask_classes.txt": "x\ny", "masks/Mask_Classes.txt": "sea\nland"}, MADE_UP, ("sea", "land")),
        ({"a/classes.txt": "x\ny", "labels/classes.txt": "cat\ndog"}, ("cat", "dog"), ("x", "y")),
        ({"obj.names": "x\ny", "labels/classes.txt": "cat\ndog"}, ("cat", "dog"), ("background", "foreground")),
        ({"my_labels.txt": "x\ny", "my_labels.json": '["x", "y"]'}, MADE_UP, ("background", "foreground")),
    ],
)
def test_names_of_classes(boxes_and_masks, files, of_boxes, of_masks):
    for name, content in files.items():
        text(boxes_and_masks / name, content)
    found = survey(boxes_and_masks).found
    assert (found["boxes"].classes, found["masks"].classes) == (of_boxes, of_masks)
