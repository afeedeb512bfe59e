"""Folders as runs leave them, without a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from fbnetv5.archs.topology import TopologySpace, named_topology

HEADER = "# fbnetv5 0.1.0, Python 3.11.7, torch 2.15.0\n# {processes} process(es)\n"
TASKS = ("cls", "det", "seg", "depth", "parts", "edges")
CLASSES = ("disk", "square", "triangle")


def write_config(folder: Path, processes: int = 1, **keys: Any) -> None:
    """config.yaml, as the part of it that a report reads."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"defaults": ["/fbnetv5/schema", "_self_"], **keys}, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(HEADER.format(processes=processes) + text, encoding="utf-8")


def write_records(folder: Path, records: Sequence[Mapping[str, float]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


def write_search(
    folder: Path,
    tasks: Sequence[str] = ("cls", "det", "seg"),
    num_stages: int = 4,
    num_records: int = 12,
    every: int = 5,
    **keys: Any,
) -> None:
    """A finished search: task t's block b ends near 0 or 1 as a fixed pattern of t and b says."""
    config = {
        "job": "search",
        "name": "my search",
        "seed": 3,
        "model": {"family": "NANO", "num_stages": num_stages},
        "data": {"crop": 96, "short_side": 112},
        "tasks": {task: {} for task in tasks},
        "search": {"steps": num_records * every, "arch_start": 2 / num_records},
        "runtime": {"log_every": every},
    }
    write_config(folder, **{**config, **keys})
    steps = [every * (index + 1) for index in range(num_records)]
    names = TopologySpace(num_stages, [1] * 4 * num_stages).slot_names
    lines, records = [",".join(["step", "task", *names])], []
    for step in steps:
        losses = {f"loss/{task}": 2 / (1 + step / steps[-1] * (k + 1)) for k, task in enumerate(tasks)}
        records.append({"step": step, **losses, "lr": 0.1, "arch_lr": 0.2, "seconds_per_step": 0.5})
        records[-1]["elapsed_seconds"] = 0.5 * step
        for k, task in enumerate(tasks):
            values = probabilities(k, len(names), step / steps[-1])
            lines.append(",".join([str(step), task, *(f"{value:.6f}" for value in values)]))
    write_records(folder, records)
    (folder / "probabilities.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for k, task in enumerate(tasks):
        choices = [int(value > 0.5) for value in probabilities(k, len(names), 1)]
        topology = TopologySpace(num_stages, [1] * len(names)).decode(choices)
        topology.save(folder / f"topology_{task}.yaml", {"task": task, "head_path": 2})
    (folder / "model.safetensors").write_bytes(b"")


def probabilities(task: int, num_blocks: int, progress: float) -> list[float]:
    """The probabilities of a task at a part of the run."""
    ways = [math.sin(12.9898 * (1 + slot) + 4.1 * task) for slot in range(num_blocks)]
    return [0.5 + 0.48 * way * min(1.0, 1.3 * progress) for way in ways]


def write_training(
    folder: Path, classes: Sequence[str] = CLASSES, picture: tuple[int, int] = (160, 240), **keys: Any
) -> dict[str, float]:
    """A finished training of a detector, with predictions; its final metrics."""
    config = {
        "job": "train",
        "name": "my detector",
        "seed": 0,
        "model": {"family": "NANO", "num_stages": 7},
        "train": {"steps": 300},
        "runtime": {"log_every": 20},
    }
    write_config(folder, **{**config, **keys})
    records: list[dict[str, float]] = []
    for step in range(20, 301, 20):
        loss = {"loss": 3 / step + 0.5, "loss_classifier": 2 / step, "loss_box_reg": 1 / step + 0.5}
        timing = {"seconds_per_step": 0.5, "elapsed_seconds": step / 2}
        records.append({"step": step, **loss, "lr": 1e-3, **timing})
        if step % 100 == 0 and step < 300:
            records.append({"step": step, **{f"val/{k}": v * step / 300 for k, v in final_metrics(classes).items()}})
    write_records(folder, records)
    topology = named_topology("fpn", 7)
    described = {"num_stages": 7, "blocks": [list(block) for block in sorted(topology.blocks)], "outputs": [1]}
    (folder / "config.json").write_text(json.dumps({"topology": described}))
    model = {"family": "NANO", "head": "fbnetv5.heads.lite_rcnn.LiteRCNN", "blocks": 4, "input_size": [96, 96]}
    model |= {"macs": 208_315_320, "params": 1_079_789}
    (folder / "metrics.json").write_text(json.dumps({"metrics": final_metrics(classes), "model": model}))
    (folder / "predictions").mkdir(exist_ok=True)
    Image.effect_noise(picture, 60).convert("RGB").save(folder / "predictions" / "drawn.png")  # it compresses worst
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "README.md").write_text("")
    return final_metrics(classes)


def final_metrics(classes: Sequence[str]) -> dict[str, float]:
    each = {f"AP/{name}": 0.3 + 0.1 * (k % 5) for k, name in enumerate(classes)}
    each |= {f"AP50/{name}": 0.51 + 0.1 * (k % 5) for k, name in enumerate(classes)}
    return {"AP": 0.3297002, "AP50": 0.4985, **each, "num_images": 128.0}
