"""Searches with workers, in mixed precision, of tasks of one's own, and made to disagree."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fbnetv5.search.algorithms import MultitaskReinforce
from tests.jobs.runs import arguments, launch, logits, metrics
from tests.on_request import ON_REQUEST
from tests.processes import command_line_of, run

pytestmark = pytest.mark.slow
SMALL = ("search.batch_size=8", "search.num_samples=2")


def run_with_a_planted_disagreement(*arguments: str) -> None:
    """Rank 1 changes its architecture logits after each update, so that it draws other architectures."""
    update = MultitaskReinforce.update

    def planted(self: MultitaskReinforce, *args: Any) -> None:
        update(self, *args)
        if os.environ["RANK"] == "1":
            self.distribution.logits[:, :, 0] += 2

    MultitaskReinforce.update = planted  # type: ignore[method-assign]  # in a process of its own
    command_line_of(arguments)


def import_the_core_alone() -> None:
    """Import every module of the core anew, where what is not for it cannot be imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "fbnetv5"]:
        del sys.modules[name]
    sys.modules.update(dict.fromkeys(("detectron2", "d2go", "mobile_cv")))  # type: ignore[arg-type]
    package = importlib.import_module("fbnetv5")
    for module in pkgutil.walk_packages(package.__path__, "fbnetv5."):
        if not module.name.startswith("fbnetv5.d2."):
            importlib.import_module(module.name)
    assert not any(name.startswith("fbnetv5.d2.") for name in sys.modules)
    print("imported", sum(name.startswith("fbnetv5.") for name in sys.modules))


@ON_REQUEST
def test_workers_do_not_change_the_result(tmp_path):
    for workers in (0, 2):
        given = (f"output={tmp_path / str(workers)}", f"runtime.workers={workers}", "search.steps=4")
        assert launch(*given, *SMALL).returncode == 0
    assert torch.equal(logits(tmp_path / "0"), logits(tmp_path / "2"))
    assert metrics(tmp_path / "0") == metrics(tmp_path / "2")


def test_a_planted_disagreement_stops_the_run(tmp_path):
    given = arguments(f"output={tmp_path}", "search.steps=6", "search.group=1", *SMALL)
    result = run(run_with_a_planted_disagreement, *given, processes=2)
    assert result.returncode != 0
    assert "the architectures drawn on rank(s) 1 differ from rank 0's" in result.stderr
    assert not (tmp_path / "topology_cls.yaml").exists()


def test_the_core_runs_without_detectron2_d2go_and_mobile_cv():
    result = run(import_the_core_alone)
    assert result.returncode == 0, result.stderr[:3000]
    assert int(result.stdout.removeprefix("imported ")) > 100


def test_a_task_and_a_method_of_ones_own_in_mixed_precision(tmp_path):
    own = (
        "tasks.depth={_target_: tests.jobs.my_depth.Depth, path: 1}",
        "tasks.cls=null",
        "search.algorithm={_target_: tests.jobs.my_depth.Reluctant, share: 0.25}",
    )
    result = launch(f"output={tmp_path}", "search.steps=4", "runtime.precision=bfloat16", *SMALL, *own)
    assert result.returncode == 0, result.stderr[:3000]
    assert {path.stem for path in tmp_path.glob("topology_*.yaml")} == {
        "topology_det",
        "topology_seg",
        "topology_depth",
    }
    assert {"loss/det", "loss/seg", "loss/depth"} <= set(metrics(tmp_path)[-1])
    assert logits(tmp_path).abs().max() > 0


def test_pretrained_weights_start_a_search(tmp_path):
    pretrain = launch(
        *(f"output={tmp_path / 'pre'}", "job=pretrain", "tasks.det=null", "tasks.seg=null", "search.steps=2", *SMALL),
        "runtime.precision=bfloat16",
    )
    assert pretrain.returncode == 0, pretrain.stderr[:3000]
    assert not (tmp_path / "pre" / "probabilities.csv").exists()
    weights = tmp_path / "pre" / "model.safetensors"
    search = launch(
        f"output={tmp_path / 'search'}", f"model.weights={weights}", "search.steps=1", "optimizer.lr=0", *SMALL
    )
    assert search.returncode == 0, search.stderr[:3000]
    assert "no weights for the heads of det, seg; they start afresh" in search.stderr
    before, after = load_file(weights), load_file(tmp_path / "search" / "model.safetensors")
    parameters = [name for name in before if name.endswith("weight") and name.startswith(("network.", "heads.cls."))]
    assert parameters
    assert all(torch.equal(before[name], after[name]) for name in parameters)
