from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 20, 12


class Folder:
    """A small data set with all three kinds of labels, to be damaged by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images, self.masks = root / "images", root / "masks"
        self.images.mkdir(parents=True)
        self.masks.mkdir()
        random = np.random.default_rng(0)
        for name in ("a", "b", "c"):
            pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(self.images / f"{name}.jpg")
        for name in ("a", "b"):
            self.write_mask(f"{name}.png", random.choice(np.array([0, 1, 255], np.uint8), (HEIGHT, WIDTH)))
        (root / "labels.csv").write_text("file_name,label\na.jpg,dog\nb.jpg,cat\n")
        self.coco: dict[str, Any] = {
            "images": [
                {"id": 7, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
                {"id": 8, "file_name": "b.jpg", "width": WIDTH, "height": HEIGHT},
            ],
            "annotations": [{"id": 1, "image_id": 7, "category_id": 5, "iscrowd": 0, "bbox": [2, 3, 10, 4]}],
            "categories": [{"id": 9, "name": "tail"}, {"id": 5, "name": "head"}],
        }
        self.write_coco()

    def write_coco(self) -> None:
        (self.root / "boxes.json").write_text(json.dumps(self.coco))

    def write_mask(self, name: str, pixels: np.ndarray) -> None:
        Image.fromarray(pixels).save(self.masks / name)

    @property
    def all_labels(self) -> dict[str, Any]:
        """Arguments of ``build_index`` for everything that the folder holds."""
        return {
            "root": self.root,
            "images": "images",
            "labels": "labels.csv",
            "boxes": "boxes.json",
            "masks": "masks",
            "mask_classes": ("background", "animal"),
        }


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")
