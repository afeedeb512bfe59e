"""Images that are labelled for some of three tasks, and trainings of one network for all of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

from fbnetv5.archs.topology import Topology
from fbnetv5.data.shapes import ShapesSource
from tests.jobs.runs import ROOT, SHORT_TRAINING

NUM_IMAGES = 12
TOPOLOGIES = {
    "cls": Topology(2, frozenset({(1, 3), (2, 3)}), (3,)),
    "det": Topology(2, frozenset({(1, 3), (2, 1)}), (1,)),
    "seg": Topology(2, frozenset({(1, 3), (2, 1), (2, 3)}), (1, 3)),
}


def write_images(root: Path) -> Path:
    """Write images: two thirds with a label, the first half with boxes, every other one with a mask."""
    source = ShapesSource(NUM_IMAGES, 64, 0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    labels, images, boxes = [], [], []
    for number in range(NUM_IMAGES):
        sample, name = source.load(number), f"{number:02d}.png"
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(root / "images" / name)
        if number % 3:
            labels.append((name, source.classes["label"][sample.target["label"]]))
        if number % 2 == 0:
            Image.fromarray(sample.target["segmentation"].numpy()).save(root / "masks" / name)
        if number < NUM_IMAGES // 2:
            images.append({"id": number, "file_name": name, "width": 64, "height": 64})
            for corners, label in zip(
                sample.target["boxes"].tolist(), sample.target["box_labels"].tolist(), strict=True
            ):
                x, y, right, bottom = corners
                entry = {"id": len(boxes) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0}
                boxes.append(entry | {"bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y)})
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label"), *labels])
    names = [{"id": number, "name": name} for number, name in enumerate(source.classes["boxes"], start=1)]
    (root / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    for task, topology in TOPOLOGIES.items():
        topology.save(root / f"topology_{task}.yaml")
    return root


def joint_training(root: Path) -> list[str]:
    """Write images to ``root``; return the command line of a training of eight steps on them."""
    write_images(root)
    files = "{images: images, labels: labels.csv, boxes: boxes.json, masks: masks}"
    return [
        f"--config={ROOT / 'configs/train/joint/shapes.yaml'}",
        f"data.root={root}",
        f"data.train={files}",
        f"data.val={files}",
        "data.mask_classes=[ground, object, wire]",
        *(f"model.tasks.{task}.topology={root}/topology_{task}.yaml" for task in TOPOLOGIES),
        "model.tasks.cls.head.hidden_channels=16",
        "model.tasks.det.head.num_proposals=[30,10]",
        "model.tasks.seg.head={_target_: fbnetv5.heads.lite_maskformer.LiteMaskFormer, num_queries: 4, "
        "embedding_channels: 32, hidden_channels: 32, dropout: 0.0}",
        *SHORT_TRAINING,
    ]
