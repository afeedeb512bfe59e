"""Scores of a block's types beside trainings to the end: a miniature study, resumed, and its table by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config, read_project
from fbnetv5.projects.fpnas import ranks
from fbnetv5.projects.fpnas.ranks import RanksConfig, Study, as_search, markdown, plan, table
from fbnetv5.projects.fpnas.tests.searches import tiny_overrides, write_images

CONFIG = Path(__file__).parents[1] / "configs" / "ranks.yaml"
SMALL = ("project.base_epochs=1", "project.stage_one=[1,2]", "project.train_epochs=1", "project.position=1")


def tiny(folder: Path, *overrides: str):
    own = tiny_overrides(folder)
    if not (folder / "data" / "test").exists():
        write_images(folder / "data" / "test")
    return load_config(CONFIG, [*own, *SMALL, *overrides])


def test_rank_correlations_are_those_of_the_numbers():
    names, macs = {0: "identity", 1: "conv k3e6", 2: "add k3e6"}, {0: 10, 1: 30, 2: 20}
    study = Study(names, macs, None, {2: None}, {}, {})  # type: ignore[arg-type,dict-item]  # a table needs no trainings
    scores = {
        "stage one, P = 2": [0.3, 0.2, 0.1],
        "stage two after P = 2": [0.1, 0.2, 0.3],
        "truth, seed 0": [0.1, 0.3, 0.2],
        "truth, seed 1": [0.2, 0.3, 0.4],
    }
    page = markdown(study, scores, 2)
    assert "| stage one, P = 2 | 20.0 | 10.00 | -0.87 ± " in page  # the mean truth is 0.15, 0.3, 0.3
    assert "| truth, seed 0 | 20.0 | 10.00 | 0.50 ± " in page
    assert "| 1.00 ± 0.00 |" in page  # of seed 0 with MACs
    assert "Truth in % of all types 25.0, 15.0 to 30.0; of what a search would keep: P = 2: conv k3e6, 30.0." in page
    assert table(study, scores)[1] == ("identity", "10", "0.30000", "0.10000", "0.10000", "0.20000")


def test_every_type_below_the_bound_is_scored_and_trained(tmp_path):
    config = tiny(tmp_path)
    study = plan(as_search(config), read_project(config.project, RanksConfig), ("blue", "green", "red"))
    assert list(study.types) == [0, 1, 2, 3]  # those of a block that changes the width
    assert [one.start for one in study.stage_one.values()] == ["jobs/base.safetensors"] * 2
    assert {one.start for one in study.stage_two[2]} == {"jobs/shared-2.safetensors"}
    assert len(study.truth[0]) == len(study.truth[1]) == 4
    assert len({one.choices for one in study.truth[0]}) == 4


@pytest.mark.slow
def test_a_study_is_made_and_is_not_made_again(tmp_path, monkeypatch, capsys):
    config = tiny(tmp_path)
    ranks.run(config, Path(config.output))
    with (tmp_path / "run" / "ranks.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 4
    assert set(rows[0]) == {
        "type", "macs", "stage one, P = 1", "stage one, P = 2", "stage two after P = 1", "stage two after P = 2",
        "truth, seed 0", "truth, seed 1",
    }  # fmt: skip
    assert "Spearman with the truth" in (tmp_path / "run" / "ranks.md").read_text()
    assert not list((tmp_path / "run").rglob("images.safetensors"))
    monkeypatch.setattr("fbnetv5.projects.fpnas.ranks.do_training", None)  # nothing is left to do
    capsys.readouterr()
    ranks.run(tiny(tmp_path, "resume=true"), Path(config.output))
    assert "all scores:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("project.position=3", "is none of the blocks 0 to 2"),
        ("project.stage_one=[2,2]", r"project\.stage_one=\[2, 2\]: give at least one, each once"),
        ("project.base_epochs=0", "project.base_epochs=0 is too small"),
        ("project.bound=113e3", "choose another block or seed, or raise project.bound"),
    ],
)
def test_what_cannot_be_ranked_is_refused(tmp_path, override, expected):
    config = tiny(tmp_path, override)
    with pytest.raises(InputError, match=expected):
        ranks.run(config, Path(config.output))
