from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    """Fourteen images of mixed sizes and brightness in two class folders, and two files that are none."""
    random = np.random.default_rng(0)
    for number in range(14):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number:02d}.{('jpg', 'png')[number % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = random.integers(16, 48, 2)
        pixels = random.integers(0, 30 + 15 * number, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "photos" / "cat" / "broken.jpg").write_text("no image")
    (tmp_path / "photos" / "dog" / "empty.png").touch()
    (tmp_path / "photos" / "notes.txt").write_text("not listed")
    return tmp_path / "photos"


@pytest.fixture
def config_file(tmp_path, photos):
    """A config that labels these photos with the fake teachers, in shards of 5 and batches of 2."""
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
    path = tmp_path / "label.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
