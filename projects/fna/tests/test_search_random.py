"""Random search and random sampling."""

from __future__ import annotations

import itertools
import json

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import run_job
from fbnetv5.projects.fna import random_search
from fbnetv5.projects.fna.methods import read_result
from fbnetv5.projects.fna.random_search import sample_matched
from fbnetv5.projects.fna.tests.search_runs import TINY, problem, search_config, use_tiny_space, write_seed

SAMPLING = "fbnetv5.projects.fna.random_search.RandomSampling"
SEARCH = "fbnetv5.projects.fna.random_search.RandomSearch"


@pytest.fixture(autouse=True)
def tiny_space(monkeypatch):
    use_tiny_space(monkeypatch)


def all_macs(given):
    """MACs of every architecture of the space."""
    return {c: given.macs(c) for c in itertools.product(*(range(n) for n in TINY.num_options))}


def test_samples_are_different_and_of_the_cost_asked_for(tmp_path):
    given = problem(tmp_path)
    macs = all_macs(given)
    target = sorted(macs.values())[len(macs) // 2]
    fitting = {choices for choices, cost in macs.items() if abs(cost - target) <= 0.05 * target}
    different = {TINY.decode(choices) for choices in fitting}
    drawn = sample_matched(given, len(different), target, 0.05)
    assert {TINY.decode(choices) for choices in drawn} == different, "asked for as many as there are, it finds them all"
    assert drawn == sample_matched(given, len(different), target, 0.05)
    assert drawn[:3] == sample_matched(given, 3, target, 0.05)


def test_a_cost_that_the_space_does_not_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(random_search, "NUM_DRAWN", 20_000)
    with pytest.raises(InputError, match="0 of 20,000 random architectures of tiny"):
        sample_matched(problem(tmp_path), 1, 1e9, 0.05)


def test_random_sampling_depends_on_the_seed(tmp_path):
    macs = all_macs(problem(tmp_path))
    TINY.decode((1,) * 6).save(tmp_path / "dear.yaml")
    method = {"_target_": SAMPLING, "match": str(tmp_path / "dear.yaml"), "tolerance": 0.3}
    found = set()
    for seed in range(3):
        run_job(search_config(tmp_path, f"seed={seed}", f"output={tmp_path / str(seed)}", method=method))
        result = read_result(tmp_path / str(seed))
        found.add(result.choices)
        assert macs[result.choices] == pytest.approx(macs[(1,) * 6], rel=0.3)
    assert len(found) > 1


def test_random_search_trains_each_once_and_keeps_the_best(tmp_path, monkeypatch, capsys):
    seed = write_seed(tmp_path)
    method = {"_target_": SEARCH, "num_architectures": 3, "epochs": 0.25, "tolerance": 0.5}
    config = search_config(tmp_path, method=method, start="seed", **seed)
    run_job(config)
    folder = tmp_path / "search"
    results = [json.loads((folder / "candidates" / f"{i:02d}" / "result.json").read_text()) for i in range(3)]
    assert len({tuple(result["choices"]) for result in results}) == 3
    assert {result["metric"] for result in results} == {"mIoU"}
    best = max(results, key=lambda result: result["score"])
    result = read_result(folder)
    assert list(result.choices) == best["choices"]
    assert result.info["scores"] == [one["score"] for one in results]
    assert capsys.readouterr().out.count("mIoU") == 3

    (folder / "candidates" / "02" / "result.json").unlink()
    monkeypatch.setattr(random_search, "train", lambda *_: None)
    run_job(search_config(tmp_path, "resume=true", method=method, start="seed", **seed))
    assert capsys.readouterr().out.count("mIoU") == 1, "the others are not trained again"


def test_what_another_configuration_found_is_no_result(tmp_path):
    seed = write_seed(tmp_path)
    method = {"_target_": SEARCH, "num_architectures": 1, "epochs": 0.25, "tolerance": 0.5}
    run_job(search_config(tmp_path, method=method, **seed))
    changed = search_config(tmp_path, "resume=true", "optimizer.lr=0.5", method=method, **seed)
    with pytest.raises(InputError, match=r"written under another configuration: optimizer.* was 0\.\d+, is now 0\.5"):
        run_job(changed)


def test_a_tolerance_that_is_too_small_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(random_search, "NUM_DRAWN", 10_000)
    seed = write_seed(tmp_path)
    for name in (SAMPLING, SEARCH):
        with pytest.raises(InputError, match=r"0 of 10,000 random architectures of tiny"):
            run_job(search_config(tmp_path, method={"_target_": name, "tolerance": 0.0}, **seed))
    assert not (tmp_path / "search" / "config.yaml").exists()


@pytest.mark.parametrize("option", [{"tolerance": -1.0}, {"num_architectures": 0}, {"epochs": 0.0}])
def test_options_out_of_their_range_are_refused(tmp_path, option):
    with pytest.raises(InputError, match=rf"project\.method\..*{next(iter(option))}="):
        run_job(search_config(tmp_path, method={"_target_": SEARCH, **option}))
