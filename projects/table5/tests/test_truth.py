"""A miniature table of truth: it is made, goes on where it was ended, and takes more topologies."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.data.shapes_worlds import WORLDS
from fbnetv5.projects.table5.sample import enumerate_window
from fbnetv5.projects.table5.score import write_score
from fbnetv5.projects.table5.truth import CONFIG, Truth
from fbnetv5.projects.table5.truth_options import load_truth
from fbnetv5.projects.table5.truth_table import Row, write_rows
from fbnetv5.runs.study import run_study
from tests.processes import FORKS

SHORT = ["train={steps: 1, batch_size: 4, eval_every: null, ema: null}", "data.shapes.world=hard"]
MINI = {
    "name": "mini",
    "seeds": [0, 1],
    "num_topologies": 2,
    "num_first": 1,
    "num_stages": 2,
    "tolerance": 0.2,
    "named": ["linear", "unet", "fpn"],
    "named_stages": 4,
    "overrides": [
        "data.shapes={num_images: 16, num_val_images: 8, size: 64}",
        "data.short_side=64",
        "data.crop=64",
        "runtime.workers=0",
        "runtime.device=cpu",
    ],
    "train": {
        "cls": {"config": "configs/train/cls/shapes.yaml", "metric": "top1", "overrides": SHORT},
        "seg": {"config": "configs/train/seg/shapes.yaml", "metric": "mIoU", "overrides": SHORT},
    },
}


@pytest.fixture(autouse=True)
def forked_workers(monkeypatch):
    """Workers that did not start Python anew; tests/runs/test_warm.py starts them as they are started."""
    monkeypatch.setattr("fbnetv5.runs.warm.CONTEXT", FORKS)


def load(folder: Path, **changes: object) -> Truth:
    file = folder / "mini.yaml"
    own = {"output": str(folder / "run"), "table": str(folder / "truth.csv")}
    file.write_text(yaml.safe_dump(MINI | own | changes))
    return Truth(load_truth(file, {}))


def make(folder: Path, **changes: object) -> bool:
    return run_study(load(folder, **changes), num_processes=1, resume=True)


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "truth.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_a_table_is_made_goes_on_and_takes_more_topologies(tmp_path):
    half = {"seeds": [0]}
    assert make(tmp_path, **half)
    first = read(tmp_path)
    assert {(row["task"], row["seed"]) for row in first} == {("cls", "0"), ("seg", "0")}
    shutil.rmtree(tmp_path / "run")  # the table alone says what is done

    whole = load(tmp_path)
    assert {job.name.rpartition("-")[2] for job in whole.jobs({}).jobs} == {"1"}
    assert make(tmp_path)
    rows = read(tmp_path)
    assert [row for row in rows if row["seed"] == "0"] == first
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    names = [network.name for network in whole.plan.networks("cls")]
    assert [(row["task"], row["topology"], row["seed"]) for row in rows if row["task"] == "cls"] == list(
        itertools.product(["cls"], names, ["0", "1"])
    )
    by_key = {(row["task"], row["topology"], row["seed"]): row["score"] for row in rows}
    assert by_key["cls", "unet", "1"] == by_key["cls", "fpn", "1"]  # one network, trained once
    assert not whole.plan.jobs({row.key for row in load(tmp_path).before})

    (job,) = load(tmp_path, seeds=[0], added=["seg/08"]).jobs({}).jobs
    assert job.name == "seg/08-0"
    assert make(tmp_path, seeds=[0], added=["seg/08"])
    assert [row for row in read(tmp_path) if row["topology"] != "08"] == rows
    assert "| cls | 2 |" in (tmp_path / "run" / "truth.md").read_text()


def test_rows_of_tasks_that_the_config_lacks_and_of_other_macs_stay_and_are_not_among_the_equal(tmp_path):
    study = load(tmp_path)
    equal = [one.name for one in study.plan.drawn["cls"]]
    scores = {("depth", "0f"): (0.5, 0.5), ("cls", "ffff"): (0.1, 0.9)}
    scores |= {("cls", name): (place / 10, place / 10) for place, name in enumerate(equal)}
    study.before = [Row(*key, 1, seed, own[seed]) for key, own in scores.items() for seed in (0, 1)]
    rows = study.rows({})
    assert sorted(rows, key=str) == sorted(study.before, key=str)
    assert rows[-1].task == "depth"
    (line,) = [line for line in study.markdown(study.gather({})).splitlines() if line.startswith("| cls | 2 |")]
    assert line.endswith("| 1.00 |")


def test_a_metric_that_there_is_not_fails_its_training_alone(tmp_path):
    (job, *_) = load(tmp_path).jobs({}).jobs
    with pytest.raises(InputError, match="metric=AP_50 is none of"):
        write_score(replace(job.work.data, metric="AP_50"))


def test_a_table_of_a_world_that_has_changed_is_refused(tmp_path, monkeypatch):
    study = load(tmp_path)
    write_rows(study.file, [Row("cls", "0000", 1, 0, 0.5)], study.plan.settings)
    assert load(tmp_path).before == [Row("cls", "0000", 1, 0, 0.5)]
    monkeypatch.setitem(WORLDS, "hard", dataclasses.replace(WORLDS["hard"], noise=7))
    with pytest.raises(InputError, match="noise=7"):
        load(tmp_path)


def test_the_projects_table_is_of_distinct_topologies_of_equal_macs_in_an_order_that_serves_a_part(tmp_path):
    study = Truth(load_truth(CONFIG, {"output": str(tmp_path), "table": str(tmp_path / "truth.csv")}))
    plan, config = study.plan, study.plan.config
    for task in plan.tasks:
        window = plan.window(task)
        drawn = plan.drawn[task]
        assert len({network.name for network in drawn}) == len(drawn) == config.num_topologies >= 48
        assert all(window.least <= network.macs <= window.most for network in drawn)
        every, _ = enumerate_window(np.full(16, 0.5), plan.paths(task), window)
        assert len(every) > 20 * len(drawn)
    names = [job.name for job in study.jobs({}).jobs]
    per_seed = len(plan.tasks) * (len(config.named) - 1 + config.num_first)  # U-Net and FPN are one network
    assert len(names) == len(set(names)) == len(config.seeds) * (per_seed + len(plan.tasks) * 24)
    for seed in config.seeds:
        assert {name.rpartition("-")[2] for name in names[seed * per_seed : (seed + 1) * per_seed]} == {str(seed)}
    assert {name.partition("/")[0] for name in names[:9]} == set(plan.tasks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_topologies": 0}, "num_topologies=0 is too small"),
        ({"match": 2}, "match=2"),
        ({"named": ["panat"]}, "panat"),
        ({"added": ["pose/80"]}, "pose"),
        ({"added": ["seg/xyz"]}, "xyz"),
        ({"seeds": []}, "at least one"),
    ],
)
def test_what_is_wrong_with_a_config_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, **changes)
