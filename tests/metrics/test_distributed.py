"""Two processes with shares of different length, one of them empty, find what one process finds."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed as dist

from fbnetv5.base.distributed import World
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION, Target
from fbnetv5.metrics.build import build_evaluator
from tests.metrics.test_coco_ap import ALONE, random_images, targets_of
from tests.processes import two_ranks

CLASSES = ("cat", "dog", "cow", "emu", "fox", "pig", "rat")
TARGETS = {target.name: target for target in (LABEL, BOXES, SEGMENTATION)}


def samples(target: Target) -> list[tuple]:
    """Prediction, target and name of 20 images."""
    generator = torch.Generator().manual_seed(7)
    if target is BOXES:
        return [(image["prediction"], targets_of(image), image["name"]) for image in random_images(0, 20)]
    found = []
    for index in range(20):
        labels = torch.randint(len(CLASSES), (2, 9, 9), generator=generator, dtype=torch.uint8)
        if target is LABEL:
            prediction = torch.rand(len(CLASSES), generator=generator)
            found.append((prediction, {"label": int(labels[0, 0, 0])}, str(index)))
        else:
            found.append((labels[0], {"segmentation": labels[1]}, str(index)))
    return found


def evaluate(world: World, target: Target, share: list[tuple]) -> dict[str, float]:
    evaluator = build_evaluator(target, CLASSES)
    for prediction, truth, name in share:
        evaluator.update([prediction], [truth], [name])
    return evaluator.compute(world)


def work(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    world = World(rank, 2, torch.device("cpu"))
    found = {}
    for name, target in TARGETS.items():
        every = samples(target)
        found[name] = evaluate(world, target, every[13:] if rank == 0 else every[:13])
        found[f"{name}, one share is empty"] = evaluate(world, target, every if rank == 1 else [])
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_two_processes_find_what_one_finds(tmp_path):
    two_ranks(work, tmp_path)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    for name, target in TARGETS.items():
        alone = evaluate(ALONE, target, samples(target))
        assert alone["num_images"] == 20
        assert ranks[0][name] == alone
        assert ranks[0][f"{name}, one share is empty"] == alone
