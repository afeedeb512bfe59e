"""Miniature ablations: they finish, resume without repeating and survive a failed part."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.jobs.supernet import supernet_step
from fbnetv5.projects.table5.__main__ import CONFIGS
from fbnetv5.projects.table5.options import load_ablation
from fbnetv5.projects.table5.plan import Plan
from fbnetv5.projects.table5.results import passes_per_sample
from fbnetv5.projects.table5.run import run_ablation
from fbnetv5.runs.job import Run
from tests.jobs.test_algorithms import batches, build, config_of
from tests.processes import FORKS

SMALL = [
    "model.num_stages=2",
    "data.shapes={num_images: 16, num_val_images: 8, size: 64}",
    "data.short_side=64",
    "data.crop=64",
    "runtime.workers=0",
    "runtime.device=cpu",
]
SHORT = ["train={steps: 1, batch_size: 4, eval_every: null}", "evaluate={num_drawn: 0, write_predictions: false}"]
MINI = {
    "name": "mini",
    "seeds": [0],
    "num_topologies": 2,
    "tolerance": 0.2,
    "overrides": SMALL,
    "search": {
        "config": "configs/quickstart.yaml",
        "overrides": ["tasks.det=null", "search={steps: 2, batch_size: 4, num_samples: 2, arch_lr: 0.4}"],
    },
    "train": {
        "cls": {"config": "configs/train/cls/shapes.yaml", "metric": "top1", "overrides": SHORT},
        "seg": {"config": "configs/train/seg/shapes.yaml", "metric": "mIoU", "overrides": SHORT},
    },
    "predict": {"num_images": 4, "num_calibration_images": 4, "batch_size": 4},
}


def write(folder: Path, **changes: object) -> Path:
    file = folder / "mini.yaml"
    file.write_text(yaml.safe_dump(MINI | {"output": str(folder / "run")} | changes))
    return file


@pytest.fixture(autouse=True)
def forked_workers(monkeypatch):
    """Workers that did not start Python anew; tests/runs/test_warm.py starts them as they are started."""
    monkeypatch.setattr("fbnetv5.runs.warm.CONTEXT", FORKS)


def run(file: Path, *, resume: bool = False) -> bool:
    return run_ablation(load_ablation(file, {}), num_processes=1, resume=resume)


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "ablation.json").read_text())


@pytest.mark.slow
def test_a_failed_job_ends_nothing_and_resuming_does_what_is_left(tmp_path):
    root = tmp_path / "run"
    diverging = MINI["train"]["seg"] | {"overrides": [*SHORT, "optimizer.lr=1e30", "train.steps=3"]}
    assert not run(write(tmp_path, train=MINI["train"] | {"seg": diverging}))
    first = read(root)
    assert all(name.startswith("seed-0/train/seg-") and "loss" in error for name, error in first["failed"].items())
    assert all((row["score"] is None) == (row["task"] == "seg") for row in first["topologies"])
    page = (root / "ablation.md").read_text()
    assert all(f"- {name}: {error}" in page for name, error in first["failed"].items())

    times = {path: path.stat().st_mtime_ns for path in root.rglob("metrics.json")}
    for name in first["failed"]:
        shutil.rmtree(root / name)
    fixed = write(tmp_path)
    with pytest.raises(InputError, match="--resume goes on with it"):
        run(fixed)
    assert run(fixed, resume=True)
    assert all(path.stat().st_mtime_ns == at for path, at in times.items())
    check(root, read(root))


def check(root: Path, results: dict[str, Any]) -> None:
    """Everything of a miniature ablation is there, and agrees with the folders of its parts."""
    assert results["failed"] == {}
    sampled = Counter((row["task"], method) for row in results["topologies"] for method in row["methods"])
    assert sampled == dict.fromkeys(itertools.product(("cls", "seg"), ("random", "single-task", "multitask")), 2)
    for row in results["topologies"]:
        assert results["least_macs"] <= row["backbone_macs"] <= results["most_macs"]
        folder = root / "seed-0" / "train" / f"{row['task']}-{row['code']}"
        metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
        assert row["score"] == metrics[results["metrics"][row["task"]]]
        assert row["predicted_loss"] > 0
    folders = {path.name for path in (root / "seed-0" / "train").iterdir()}
    assert folders == {f"{row['task']}-{row['code']}" for row in results["topologies"]}  # each trained once
    costs = {(r["method"], r["task"]): (r["forward_passes"], r["backward_passes"]) for r in results["searches"]}
    assert costs == dict.fromkeys([("multitask", None), ("single-task", "cls"), ("single-task", "seg")], (4, 4))
    assert "Nothing is missing." in (root / "ablation.md").read_text()


@pytest.mark.parametrize(("method", "num_tasks"), [("1", 1), ("2", 3), ("3", 3), ("4", 3)])
def test_passes_are_those_that_a_step_takes(method, num_tasks):
    run = build(method, num_tasks=num_tasks)
    calls: Counter[str] = Counter()
    run.model.network.register_forward_hook(lambda *_: calls.update(["forward"]))
    stem = run.model.network.trunk[0]
    stem.register_forward_hook(lambda _m, _i, out: out.register_hook(lambda _: calls.update(["backward"])) and None)
    supernet_step(run, 0, batches(run)[0])
    forward, backward = passes_per_sample(config_of(method, num_tasks=num_tasks), num_tasks)
    samples = run.config.search.num_samples
    assert calls == {"forward": forward * samples, "backward": backward * samples}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 0]}, "each once"),
        ({"num_topologies": 0}, "num_topologies=0 is too small"),
        ({"match": 0}, "match=0"),
        ({"tolerence": 0.1}, "tolerence"),
        ({"search": {"config": "configs/nowhere.yaml"}}, "there is no such file"),
        ({"train": {"cls": MINI["train"]["cls"]}}, "train has cls, the search cls, seg"),
    ],
)
def test_what_is_wrong_with_a_config_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        _ = Plan(load_ablation(write(tmp_path, **changes), {}), tmp_path).tasks


@pytest.mark.parametrize("name", ["shapes", "pets"])
def test_the_projects_configs_fit_together(name, tmp_path):
    plan = Plan(load_ablation(CONFIGS / f"{name}.yaml", {}), tmp_path)
    assert set(plan.head_paths) == set(plan.tasks)
    sampled = plan.sample(0, "random", plan.tasks[0], ())
    assert len(sampled) == plan.config.num_topologies
    job = plan.train_job(0, plan.tasks[0], sampled[0])
    assert isinstance(job.work, Run)
    topology = load_config(job.work.config, job.work.overrides).model.topology
    assert Topology.load(topology) == sampled[0].topology
