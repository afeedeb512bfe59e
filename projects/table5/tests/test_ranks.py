"""Comparing supernets by how they rank the table of truth: taus by hand, what is kept, and a miniature run."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5.ranks import CONFIG, Ranks, load_ranks
from fbnetv5.projects.table5.ranks_table import Said, write_said
from fbnetv5.projects.table5.tests import test_run
from fbnetv5.projects.table5.tests.test_truth import MINI as TRUTH
from fbnetv5.projects.table5.truth_table import Row
from fbnetv5.runs.study import run_study
from tests.on_request import ON_REQUEST
from tests.processes import FORKS

VARIANTS = {"base": [], "deeper": ["tasks.seg.path=1"]}


@pytest.fixture(autouse=True)
def forked_workers(monkeypatch):
    """Workers that did not start Python anew; tests/runs/test_warm.py starts them as they are started."""
    monkeypatch.setattr("fbnetv5.runs.warm.CONTEXT", FORKS)


def load(folder: Path, **changes: object) -> Ranks:
    ablation = test_run.write(folder)
    (folder / "truth.yaml").write_text(
        yaml.safe_dump(TRUTH | {"num_topologies": 4, "num_first": 3, "tolerance": 0.5, "table": str(folder / "t.csv")})
    )
    file = folder / "ranks.yaml"
    own = {"name": "mini", "ablation": str(ablation), "variants": VARIANTS}
    places = {"output": str(folder / "run"), "table": str(folder / "said.csv")}
    file.write_text(yaml.safe_dump(own | places | changes))
    return Ranks(load_ranks(file, {}))


def test_the_projects_config_changes_one_thing_at_a_time(tmp_path):
    changes = {"output": str(tmp_path / "run"), "table": str(tmp_path / "said.csv")}
    study = Ranks(load_ranks(CONFIG, changes))
    base = study.settings["base"]
    for name, settings in study.settings.items():
        changed = {key for key in base.keys() | settings.keys() if base.get(key) != settings.get(key)}
        assert (name == "base") == (not changed)


def test_taus_are_those_of_the_table_of_truth_and_what_stands_in_the_file_is_not_searched_again(tmp_path):
    study = load(tmp_path)
    networks = study.truth.plan.drawn["cls"]
    study.truth.before = [Row("cls", one.name, one.macs, 0, 0.1 * place) for place, one in enumerate(networks)]
    said = [Said("base", 0, "cls", one.name, score=-place, regression=place) for place, one in enumerate(networks)]
    write_said(study.file, said, study.settings)
    before, study.before = study.before, said
    assert before == []
    (row,) = [row for row in study.gather({})["taus"] if row["task"] == "cls"]
    assert (row["score_all"], row["regression_all"]) == (pytest.approx(1), pytest.approx(-1))
    assert row["score_others"] is None  # one topology
    assert {job.name.split("/")[0] for job in load(tmp_path).jobs({}).jobs} == {"deeper"}
    assert "| base | score | first | 1.00 (3) |" in study.markdown(study.gather({}))

    again = [replace(row, seed=1, score=-row.score) for row in study.truth.before]  # seed 1 says the opposite
    study.truth.before += again
    between = study.gather({})["between"]
    assert between["trainings"] == {"cls": [pytest.approx(-1)], "seg": []}
    assert between["supernets (base)"] == {"cls": [], "seg": []}  # there is one
    assert "| trainings | -1.00 |" in study.markdown(study.gather({}))

    assert load(tmp_path).before == said
    with pytest.raises(InputError, match=r"base was made with other settings \(search.steps=2 there, 3 here\)"):
        load(tmp_path, variants={"base": ["search.steps=3"]})


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "said.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"said\.csv with said\.json is no table of variant, seed"):
        load(tmp_path)


@pytest.mark.parametrize(("changes", "message"), [({"variants": {}}, "variants are missing"), ({"seeds": []}, "seeds")])
def test_what_is_wrong_with_a_config_is_said(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, **changes)


@ON_REQUEST
@pytest.mark.slow
def test_a_miniature_comparison(tmp_path):
    study = load(tmp_path)
    assert run_study(study, num_processes=1, resume=True)
    with (tmp_path / "said.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {(row["variant"], row["task"]) for row in rows} == {
        (name, task) for name in VARIANTS for task in study.truth.plan.tasks
    }
    assert len(rows) == len(VARIANTS) * sum(len(study.truth.plan.drawn[task]) for task in study.truth.plan.tasks)
    assert not load(tmp_path).jobs({}).jobs
