"""How often a step makes a GPU wait: no more than its budget says."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fbnetv5.base.distributed import World
from fbnetv5.base.types import Batch
from fbnetv5.config.read import load_config
from fbnetv5.heads import suppression
from fbnetv5.heads.lite_maskformer.losses import MaskLossWeights, mask_losses
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.train import build_training
from tests.jobs.runs import ROOT, TINY
from tests.processes import two_ranks
from tests.waits import Waits, counted_waits

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
CLIPPING = 1  # whether the gradient is finite
LOSSES = 1  # those of all tasks or micro-batches, together
DETECTION = 3  # what anchors and proposals are sampled from, and whether suppression has ended
NAMES = ("all_gather", "all_gather_into_tensor", "all_gather_single", "all_reduce", "broadcast")  # in some version
COLLECTIVES = [name for name in NAMES if hasattr(dist, name)]
SCORES = 1  # what anchors are sampled from for the score of detection
MASKS = 1  # what queries are matched by


def tensors(model: nn.Module, batch: Batch) -> list[Tensor]:
    """What lies on the GPU when a step begins."""
    targets = [value for target in batch.targets for value in target.values() if isinstance(value, Tensor)]
    anchors = [one for module in model.modules() for one in getattr(module, "cell_anchors", ())]
    return [*model.parameters(), *model.buffers(), *anchors, batch.images, *targets]


def waits_of(run: Any) -> Waits:
    """The waits of a run's second step; the first one makes what later ones keep."""
    run.model.train()
    first, second = (batch for _, batch in zip(range(2), run.batches(0), strict=False))
    run.step(0, first)
    state = [one for entry in run.optimizer.state.values() for one in entry.values() if one.numel() > 1]
    with counted_waits([*tensors(run.model, second), *state]) as waits:
        run.step(1, second)
    return waits


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(suppression, "kept", suppression.kept_together)
    monkeypatch.setattr("fbnetv5.heads.batched_rcnn.kept", suppression.kept_together)


@pytest.mark.parametrize(
    ("config", "overrides", "budget"),
    [
        ("configs/quickstart.yaml", (), CLIPPING + LOSSES + 2 * (DETECTION + SCORES)),
        ("configs/quickstart.yaml", ("tasks.det=null", "data.shapes.num_images=64"), CLIPPING + LOSSES),
        ("configs/search/shapes_depth.yaml", ("tasks.det=null",), CLIPPING + LOSSES),
    ],
    ids=["three tasks", "no detection", "depth"],
)
def test_a_step_of_a_search(config, overrides, budget):
    """Two samples of two images."""
    sizes = ("search.batch_size=4", "search.num_samples=2", "search.group=1", "search.last_look.candidates=0")
    waits = waits_of(build_run(load_config(ROOT / config, [*TINY, *sizes, *overrides]), ALONE))
    assert waits.total <= budget, waits.told()


def watched_rank(rank: int, folder: str) -> None:
    """A search's step of two processes, and the losses that ask for a count over ranks."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    sizes = ("search.batch_size=4", "search.num_samples=2", "search.group=1", "search.last_look.candidates=0")
    run = build_run(load_config(ROOT / "configs/quickstart.yaml", [*TINY, *sizes]), World(rank, 2, ALONE.device))
    run.model.train()
    batch = next(iter(run.batches(0)))
    seen = []

    def watched(name: str) -> Any:
        collective = getattr(dist, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            seen.append((name, all(map(waits.is_marked, given))))
            return collective(*args, **kwargs)

        return call

    with counted_waits(tensors(run.model, batch)) as waits, contextlib.ExitStack() as stack:
        for name in COLLECTIVES:
            stack.enter_context(patch.object(dist, name, watched(name)))
        run.step(0, batch)
        run.average_statistics()
        masks = batch.images[:, 0, :8, :8].mul(0).byte()
        mask_losses(batch.images[:, 0, :3, :4], batch.images[:, :, :8, :8], masks, MaskLossWeights())
    dist.destroy_process_group()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))


def test_collectives_take_tensors_of_the_ranks_device(tmp_path):
    two_ranks(watched_rank, str(tmp_path))
    for rank in range(2):
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(seen) > 4
        assert [name for name, is_on_device in seen if not is_on_device] == []


HEADS = {"cls": 0, "det": DETECTION, "seg": MASKS}


@pytest.mark.parametrize("task", HEADS)
def test_a_step_of_a_training(task):
    given = ("data.shapes.num_images=32", "train.steps=8", "train.batch_size=4", "data.short_side=64")
    own = ("model.head.num_proposals=[30,10]",) if task == "det" else ("data.crop=64",)
    config = load_config(
        ROOT / f"configs/train/{task}/shapes.yaml", [*given, *own, "runtime.device=cpu", "runtime.workers=0"]
    )
    waits = waits_of(build_training(config, ALONE))
    assert waits.total <= CLIPPING + LOSSES + HEADS[task], waits.told()
