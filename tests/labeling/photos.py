"""Photos to label, and a config that labels them with teachers that cost nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image


def write_photos(folder: Path) -> Path:
    """Write fourteen images of mixed sizes and brightness in two class folders, and two files that are none."""
    random = np.random.default_rng(0)
    for number in range(14):
        path = folder / ("cat", "dog")[number % 2] / f"{number:02d}.{('jpg', 'png')[number % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = random.integers(16, 48, 2)
        pixels = random.integers(0, 30 + 15 * number, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "cat" / "broken.jpg").write_text("no image")
    (folder / "dog" / "empty.png").touch()
    (folder / "notes.txt").write_text("not listed")
    return folder


def label_config(folder: Path, photos: Path) -> Path:
    """Write to ``folder`` a config that labels these photos, in shards of 5 and batches of 2."""
    content = {
        "defaults": ["/fbnetv5/schema", "_self_"],
        "job": "label",
        "name": "labels",
        "label": {
            "images": str(photos),
            "labels": "${label.images}",
            "boxes": {"_target_": "tests.labeling.fakes.MeanBoxes"},
            "masks": {"_target_": "tests.labeling.fakes.Brightness"},
            "batch_size": 2,
            "shard_size": 5,
            "num_drawn": 2,
        },
        "runtime": {"device": "cpu", "workers": 0, "log_every": 2},
    }
    path = folder / "label.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
