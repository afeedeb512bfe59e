"""People of three dots, and a training on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.jobs.runs import ROOT

NAMES = ["head", "left_hand", "right_hand"]
COLOURS = [(255, 80, 80), (80, 255, 80), (80, 80, 255)]


def write_people(root: Path, count: int = 8) -> Path:
    """Write ``count`` images of 64 x 80 pixels, one of which is unlabelled."""
    (root / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    people = []
    for number in range(count):
        pixels = random.integers(0, 60, (64, 80, 3), np.uint8)
        points = random.integers(6, 58, (3, 2))
        for (x, y), colour in zip(points, COLOURS, strict=True):
            pixels[y - 3 : y + 4, x - 3 : x + 4] = colour
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        keypoints = [int(v) for x, y in points for v in (x, y, 2)]
        box = [*points.min(0).tolist(), *np.ptp(points, 0).tolist()]
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 900, "head_size": 10}
        people += [entry | {"keypoints": keypoints}] if number else []
    category = {"id": 1, "name": "person", "keypoints": NAMES}
    document = {"images": images, "annotations": people, "categories": [category]}
    (root / "people.json").write_text(json.dumps(document))
    return root


def pose_training(root: Path) -> list[str]:
    """Write people to ``root``; return the command line of a training of two steps on them."""
    write_people(root)
    return [
        f"--config={ROOT / 'configs/train/pose/lsp.yaml'}",
        f"data.root={root}",
        *(f"data.{split}.images=images" for split in ("train", "val")),
        *(f"data.{split}.keypoints=people.json" for split in ("train", "val")),
        *(f"data.{key}=64" for key in ("short_side", "crop", "crop_width")),
        "data.scale=[0.9,1.1]",
        "model.topology=linear",
        "model.num_stages=1",
        "model.head.hidden_channels=8",
        "train.epochs=null",
        "train.steps=2",
        "train.batch_size=4",
        "train.eval_every=1",
        "evaluate.num_drawn=2",
        "runtime.device=cpu",
        "runtime.workers=0",
    ]
