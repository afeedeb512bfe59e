"""Comparisons: tables of numbers by hand, and a miniature one that is made, goes on and is not made again."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.data.shapes_worlds import WORLDS
from fbnetv5.engine.trainer import check_duration
from fbnetv5.projects.comparisons.options import load_comparison
from fbnetv5.projects.comparisons.study import Comparison
from fbnetv5.projects.comparisons.table import COLUMNS, Row, line, markdown, parse
from fbnetv5.runs.job import Outcome
from fbnetv5.runs.kept_table import write_table
from fbnetv5.runs.statistics import interval
from fbnetv5.runs.study import find_config, run_study
from tests.processes import FORKS

CONFIGS = Path(__file__).parents[1] / "configs"
ROWS = [
    Row(training, seed, "top-1", value, 120.0)
    for training, values in {"old": (0.5, 0.6, 0.7), "new": (0.52, 0.63, 0.74)}.items()
    for seed, value in enumerate(values)
]
SMALL = [
    "data.shapes={num_images: 16, num_val_images: 8, size: 64}",
    "data.short_side=64",
    "data.crop=64",
    "train={steps: 1, batch_size: 4, eval_every: null, ema: null}",
    "runtime.workers=0",
    "runtime.device=cpu",
]
MINI = {
    "name": "mini",
    "seeds": [0],
    "overrides": SMALL,
    "trainings": {
        "one": {"config": "configs/train/cls/shapes.yaml", "metrics": {"top-1": "top1"}},
        "two": {
            "config": "configs/train/cls/shapes.yaml",
            "overrides": ["optimizer.lr=0.001"],
            "metrics": {"top-1": "top1"},
            "against": {"top-1": "one"},
        },
    },
}


@pytest.fixture(autouse=True)
def forked_workers(monkeypatch):
    """Workers that did not start Python anew; tests/runs/test_warm.py starts them as they are started."""
    monkeypatch.setattr("fbnetv5.runs.warm.CONTEXT", FORKS)


def load(folder: Path, only: list[str] | None = None, **changes: object) -> Comparison:
    file = folder / "mini.yaml"
    places = {"output": str(folder / "run"), "table": str(folder / "rows.csv")}
    file.write_text(yaml.safe_dump(MINI | places | changes))
    return Comparison(load_comparison(file, {}, only=only))


def changed(name: str, **entry: object) -> dict[str, object]:
    trainings = {key: dict(value) for key, value in MINI["trainings"].items()}
    trainings[name] |= entry
    return {"trainings": trainings}


def test_means_spreads_and_paired_intervals_are_those_of_the_numbers():
    page = markdown("by hand", ROWS, ["top-1"], {"old": {}, "new": {"top-1": "old"}}, {"new/seed-9": "no memory"})
    assert "| old | 60.0 ± 10.0 | 2.0 ± 0.0 | 3 |" in page
    assert "| new | old | +3.0 (+0.5 to +5.5) |" in page  # 3 +- 4.303 / sqrt(3)
    assert "- new/seed-9: no memory" in page
    mean, half = interval([2.0, 3.0, 4.0])
    assert (mean, half) == (pytest.approx(3), pytest.approx(4.30265 / 3**0.5, rel=1e-4))


def test_one_seed_has_a_difference_without_an_interval_and_none_has_nothing():
    page = markdown("by hand", [ROWS[0], ROWS[3]], ["top-1"], {"old": {}, "new": {"top-1": "old"}}, {})
    assert "| new | old | +2.0 |" in page
    assert "| new | old | - |" in markdown("by hand", ROWS[:1], ["top-1"], {"old": {}, "new": {"top-1": "old"}}, {})


def test_rows_are_read_as_they_were_written(tmp_path):
    names = [field.name for field in dataclasses.fields(Row)]
    assert parse(tmp_path, [dict(zip(names, line(row), strict=True)) for row in ROWS]) == ROWS
    with pytest.raises(InputError, match="is no table of trainings"):
        parse(tmp_path, [dict.fromkeys(names, "x")])


@pytest.mark.slow
def test_a_comparison_is_made_goes_on_and_is_not_made_again(tmp_path):
    assert run_study(load(tmp_path, only=["one"]), num_processes=1, resume=True)
    first = (tmp_path / "rows.csv").read_text().splitlines()
    whole = load(tmp_path)
    assert [job.name for job in whole.jobs({}).jobs] == ["two/seed-0"]
    assert run_study(whole, num_processes=1, resume=True)
    with (tmp_path / "rows.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["training"], row["metric"]) for row in rows] == [("one", "top-1"), ("two", "top-1")]
    assert (tmp_path / "rows.csv").read_text().splitlines()[: len(first)] == first
    assert not load(tmp_path).jobs({}).jobs
    page = (tmp_path / "run" / "comparison.md").read_text()
    assert "| two | one | " in page
    one = load(tmp_path, only=["one"])
    assert one.markdown(one.gather({})) == page  # what is made is not all that is shown
    with pytest.raises(InputError, match=r"two was made with other settings \(optimizer.lr=0.001 there, 0.1 here\)"):
        load(tmp_path, **changed("two", overrides=["optimizer.lr=0.1"]))
    mistyped = load(tmp_path, **changed("two", metrics={"AP": "AP"}, against={}))
    found = mistyped.gather(_outcomes(tmp_path))  # ends no other training
    assert {row["training"] for row in found["rows"]} == {"one", "two"}
    assert list(found["failed"]) == list(mistyped.unread) == ["two/seed-0"]
    assert re.search(r"metrics\.json has no 'AP', but .*top1", mistyped.unread["two/seed-0"])


def test_rows_of_another_world_of_shapes_are_refused(tmp_path, monkeypatch):
    study = load(tmp_path)
    write_table(study.file, COLUMNS, [("one", "0", "top-1", "0.5", "1.0")], study.settings)
    assert [job.name for job in load(tmp_path).jobs({}).jobs] == ["two/seed-0"]
    monkeypatch.setitem(WORLDS, "plain", dataclasses.replace(WORLDS["plain"], max_objects=9))
    with pytest.raises(InputError, match=r"one was made with other settings \(data\.shapes\.world="):
        load(tmp_path)


def _outcomes(folder: Path) -> dict[str, Outcome]:
    study = load(folder)
    return {job.name: Outcome(job, "skipped") for job in (study.job(name, 0) for name in ("one", "two"))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainings": {}}, "trainings are missing"),
        (changed("one", metrics={}), "trainings.one.metrics are missing"),
        (changed("two", against={"top-1": "tow"}), "trainings.two.against: 'tow' and it do not both have 'top-1'"),
        (changed("two", config="configs/nowhere.yaml"), "there is no such file"),
        ({"seeds": [1, 1]}, "each once"),
    ],
)
def test_what_is_wrong_with_a_config_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, **changes).jobs({})


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_projects_configs_load(tmp_path, file):
    config = load_comparison(file, {"output": str(tmp_path), "table": str(tmp_path / "rows.csv")}, ["data.root=x"])
    study = Comparison(config)
    assert len(study.jobs({}).jobs) == len(config.seeds) * len(config.trainings)
    for entry in config.trainings.values():
        check_duration("train", load_config(find_config(entry), (*config.overrides, *entry.overrides)).train)


def test_a_trainings_own_overrides_come_last_but_for_those_of_the_command_line(tmp_path):
    study = load(tmp_path, **changed("two", overrides=["train.batch_size=2"]))
    assert [study.settings[name]["train.batch_size"] for name in ("one", "two")] == [4, 2]
    study = Comparison(load_comparison(tmp_path / "mini.yaml", {}, ["train.batch_size=8"]))
    assert [study.settings[name]["train.batch_size"] for name in ("one", "two")] == [8, 8]
