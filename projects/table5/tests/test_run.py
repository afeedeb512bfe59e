"""Miniature ablations: they finish, resume without repeating and survive a failed part."""

from __future__ import annotations

import csv
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.jobs.supernet import supernet_step
from fbnetv5.projects.table5.__main__ import CONFIGS
from fbnetv5.projects.table5.options import load_ablation
from fbnetv5.projects.table5.plan import EQUAL, Found, in_turn
from fbnetv5.projects.table5.predict import Prediction, is_predicted
from fbnetv5.projects.table5.results import passes_per_sample
from fbnetv5.projects.table5.run import Ablation, run_ablation
from fbnetv5.projects.table5.tests.test_truth import MINI as TRUTH
from fbnetv5.projects.table5.truth_plan import Network
from tests.jobs.test_algorithms import batches, build, config_of
from tests.processes import FORKS

SMALL = [
    "model.num_stages=2",
    "data.shapes={num_images: 32, num_val_images: 8, size: 64, world: hard}",
    "data.short_side=64",
    "data.crop=64",
    "runtime.workers=0",
    "runtime.device=cpu",
    "tasks.det=null",
    "search={steps: 2, batch_size: 4, num_samples: 2}",
    "search.last_look={candidates: 12, images: 8, finalists: 2, family: 0, neighbours: false}",
]
MINI = {
    "name": "mini",
    "seeds": [0],
    "num_topologies": 2,
    "num_shortlisted": 3,
    "methods": ["multitask", "single-task"],
    "search": {"config": "configs/quickstart.yaml", "overrides": SMALL},
    "single_task": ["search.algorithm={_target_: fbnetv5.search.differentiable.SingleTask}"],
}


def write(folder: Path, **changes: object) -> Path:
    truth, file = folder / "truth.yaml", folder / "mini.yaml"
    truth.write_text(yaml.safe_dump(TRUTH | {"seeds": [0], "table": str(folder / "truth.csv")}))
    own = {"output": str(folder / "run"), "truth": {"config": str(truth)}}
    file.write_text(yaml.safe_dump(MINI | own | changes))
    return file


@pytest.fixture(autouse=True)
def forked_workers(monkeypatch):
    """Workers that did not start Python anew; tests/runs/test_warm.py starts them as they are started."""
    monkeypatch.setattr("fbnetv5.runs.warm.CONTEXT", FORKS)


def run(file: Path, *, resume: bool = False) -> bool:
    return run_ablation(load_ablation(file, {}), num_processes=1, resume=resume)


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "ablation.json").read_text())


def test_trainings_from_a_searchs_weights_wait_for_it(tmp_path):
    file = write(tmp_path, methods=["multitask"])
    study = Ablation(load_ablation(file, {}), 1)
    assert all(job.after == () for job in study.jobs({}).jobs)
    weights = "model.weights=${output}/seed-0/search-multitask/model.safetensors"
    truth = {"config": str(tmp_path / "truth.yaml"), "overrides": [weights]}
    study = Ablation(load_ablation(write(tmp_path, methods=["multitask"], truth=truth), {}), 1)
    first, *others = study.jobs({}).jobs
    assert first.name == "seed-0/search-multitask"
    assert len(others) > 1
    assert all(job.after == (first.name,) for job in others)


def test_single_task_searches_are_compared_with_the_multitask_one(tmp_path):
    with pytest.raises(InputError, match="multitask is what others are compared with"):
        load_ablation(write(tmp_path, methods=["single-task"]), {})


@pytest.mark.slow
def test_a_failed_search_ends_nothing_and_resuming_does_what_is_left(tmp_path):
    root = tmp_path / "run"
    broken = MINI["single_task"] + ["search.algorithm.relaxation=gumbel"]
    assert not run(write(tmp_path, single_task=broken))
    first = read(root)
    assert set(first["failed"]) == {"seed-0/search-single-cls", "seed-0/search-single-seg"}
    assert {row["method"] for row in first["found"]} == {"multitask"}
    page = (root / "ablation.md").read_text()
    assert all(f"- {name}: {error}" in page for name, error in first["failed"].items())
    rows = (tmp_path / "truth.csv").read_text().splitlines()

    fixed = write(tmp_path)
    with pytest.raises(InputError, match="--resume goes on with it"):
        run(fixed)
    assert run(fixed, resume=True)
    assert set(rows) <= set((tmp_path / "truth.csv").read_text().splitlines())  # not trained again
    check(tmp_path, read(root))


def check(folder: Path, results: dict[str, Any]) -> None:
    """Everything of a miniature ablation is there, and agrees with the table of truth."""
    assert results["failed"] == {}
    with (folder / "truth.csv").open(newline="") as lines:
        scores = {(row["task"], row["topology"]): float(row["score"]) for row in csv.DictReader(lines)}
    found = Counter((row["task"], row["method"]) for row in results["found"])
    assert found == {
        (task, method): 1 + 3 * (method == "multitask") for task in ("cls", "seg") for method in MINI["methods"]
    }
    for row in results["found"]:
        assert len(row["topologies"]) == (2 if row["under"] == EQUAL else 1)
        expected = [scores[row["task"], name] for name in row["topologies"]]
        assert row["scores"] == pytest.approx(expected, abs=1e-5)
        if row["under"] != EQUAL:
            assert row["macs"][0] <= results["named"][row["task"]][row["under"]]["macs"]
    for task in ("cls", "seg"):
        random = results["random"][task]["scores"]
        assert random == pytest.approx({name: scores[task, name] for name in random}, abs=1e-5)
        assert len(random) == TRUTH["num_topologies"]
    assert [(row["seed"], row["task"]) for row in results["ranks"]] == [(0, "cls"), (0, "seg")]
    costs = {(r["method"], r["task"]): (r["forward_passes"], r["backward_passes"]) for r in results["searches"]}
    assert costs == dict.fromkeys([("multitask", None), ("single-task", "cls"), ("single-task", "seg")], (4, 4))
    page = (folder / "run" / "ablation.md").read_text()
    assert "Nothing is missing." in page
    cls = next(
        row for row in results["found"] if (row["task"], row["method"], row["under"]) == ("cls", "multitask", EQUAL)
    )
    assert f"| cls | top1 | Multitask (Alg. 4) | {100 * statistics.mean(cls['scores']):.1f} |" in page


@pytest.mark.parametrize(("method", "num_tasks"), [("1", 1), ("2", 3), ("3", 3), ("4", 3)])
def test_passes_are_those_that_a_step_takes(method, num_tasks):
    run = build(method, num_tasks=num_tasks)
    calls: Counter[str] = Counter()
    stem = run.model.network.trunk[0]
    stem.register_forward_hook(
        lambda _m, _i, out: (
            calls.update(["forward"]),
            out.register_hook(lambda _: calls.update(["backward"])) and None,
        )[1]
    )
    supernet_step(run, 0, batches(run)[0])
    forward, backward = passes_per_sample(config_of(method, num_tasks=num_tasks), num_tasks)
    samples = run.config.search.num_samples
    assert calls == {"forward": forward * samples, "backward": backward * samples}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 0]}, "each once"),
        ({"num_topologies": 0}, "num_topologies=0 is too small"),
        ({"methods": ["multi-task"]}, "multi-task"),
        ({"tolerence": 0.1}, "tolerence"),
        ({"search": {"config": "configs/nowhere.yaml"}}, "there is no such file"),
        ({"search": {"config": "configs/quickstart.yaml"}}, "the table has cls, seg, the search cls, det, seg"),
        (
            {"search": MINI["search"] | {"overrides": [*SMALL, "model.num_stages=3"]}},
            "differ in model.family or num_stages",
        ),
    ],
)
def test_what_is_wrong_with_a_config_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        _ = Ablation(load_ablation(write(tmp_path, **changes), {}), 1).plan.tasks


def test_the_best_of_each_search_is_trained_before_any_second_best_and_equal_macs_before_others():
    def found(seed: int, under: str, *names: str) -> Found:
        return Found(
            seed, "multitask", "cls", under, tuple(Network("cls", name, Topology.full(1), 1) for name in names)
        )

    every = [found(0, "fpn", "e"), found(0, EQUAL, "a", "c", "d"), found(1, EQUAL, "b")]
    assert [network.name for network in in_turn(every)] == ["a", "b", "c", "d", "e"]


def test_scores_of_a_search_that_was_done_again_are_made_again(tmp_path):
    prediction = Prediction(CONFIGS / "../../../configs/quickstart.yaml", (), tmp_path, "cls", (), tmp_path / "p.json")
    assert not is_predicted(prediction)
    (tmp_path / WEIGHTS).write_bytes(b"first")
    prediction.result.write_text(json.dumps({"inputs": prediction.inputs, "scores": {}}))
    assert is_predicted(prediction)
    (tmp_path / WEIGHTS).write_bytes(b"another")
    assert not is_predicted(prediction)


def test_a_first_answer_takes_the_first_seeds_of_the_table_alone(tmp_path):
    changes = {"output": str(tmp_path), "repeats": 1}
    plan = Ablation(load_ablation(CONFIGS / "shapes.yaml", changes), 1).plan.truth
    assert {job.name.rpartition("-")[2] for job in plan.jobs([])} == {"0"}


@pytest.mark.parametrize("name", ["shapes", "pets"])
def test_the_projects_configs_fit_together(name, tmp_path):
    overrides = ["data.root=nowhere"] if name == "pets" else []
    plan = Ablation(load_ablation(CONFIGS / f"{name}.yaml", {"output": str(tmp_path)}, overrides), 1).plan
    jobs = plan.jobs({}, ())
    assert {job.group for job in jobs.jobs} == {"search-multitask", *plan.tasks}
    assert jobs.to_come == dict.fromkeys(("predict", "shortlist"), len(plan.config.seeds) * len(plan.tasks))
