"""Images that a CPU core decodes and augments a second, as the paper's search takes them, and their bytes."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fbnetv5.base.distributed import World, pick_device
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.loader import build_loader

WIDTH, HEIGHT = 500, 375  # of most images of ImageNet
NUM_IMAGES, BATCH = 64, 16
TARGETS = (
    Target("label", TargetKind.SCALAR),
    Target("boxes", TargetKind.BOXES),
    Target("segmentation", TargetKind.MASK),
)
CLASSES = {"label": 1000, "boxes": 80, "segmentation": 171}


@dataclass(frozen=True)
class Loading:
    """Images a second of one core, with labels, boxes and masks; mean bytes of an image and of its mask."""

    images_per_second: float
    image_bytes: float
    mask_bytes: float


def measure_loading(num_batches: int) -> Loading:
    """Load batches of made-up photos in this process; seconds are those of its CPU, whatever else runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = IndexSource(write_photos(folder), folder)
        alone = World(0, 1, pick_device("cpu"))
        data = DataConfig(short_side=256, crop=224)
        given: dict[str, Any] = {"batch_size": BATCH, "workers": 0, "seed": 0}
        batches = iter(build_loader(data, source, TARGETS, alone, steps=range(num_batches + 1), **given))
        next(batches)  # imports and opens
        began = time.process_time()
        count = sum(len(batch) for batch in batches)
        seconds = time.process_time() - began
        sizes = [np.mean([path.stat().st_size for path in folder.rglob(f"*.{kind}")]) for kind in ("jpg", "png")]
    return Loading(count / seconds, *map(float, sizes))


def write_photos(folder: Path) -> Index:
    """Write smooth photos with some grain, and masks of regions, as large as those of ImageNet are in the mean."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(NUM_IMAGES):
        coarse = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        pixels = np.clip(smooth + random.normal(0, 14, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)
        regions = Image.fromarray(random.integers(0, 171, (6, 8), dtype=np.uint8))
        regions.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        box = [[40.0, 30.0, 240.0, 200.0]] * 3
        rows.append(
            {"path": f"{number}.jpg", "width": WIDTH, "height": HEIGHT, "label": number, "boxes": box}
            | {"box_labels": [0, 1, 2], "segmentation": f"{number}.png"}
        )
    classes = {name: [f"class {number}" for number in range(count)] for name, count in CLASSES.items()}
    return Index.from_rows(rows, TARGETS, classes, "made up")
