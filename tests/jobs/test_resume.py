"""A run that dies and is resumed leaves what an uninterrupted one leaves, to the bit."""

from __future__ import annotations

import pytest

from fbnetv5.base.lock import LOCK
from tests.jobs import cases
from tests.on_request import some_on_request
from tests.processes import run

METRICS = r"/metrics\.jsonl$"
OTHERS = {
    "search of the paper",
    "search with gates",
    "search with random gates",
    "pretrain",
    "extend",
    "train cls",
    "train det",
    "train seg",
    "train pose",
    "FNA++ search",
    "FNA++ adaptation",
    "FPNAS search",
}  # each like one that is not
RUNS = {  # the run, and the file at whose opening it dies for the n-th time: some steps after a checkpoint
    "search": (cases.searching("search.steps=5"), METRICS, 2),
    "search of the paper": (cases.searching(*cases.PAPER), METRICS, 3),
    "search with gates": (cases.searching("search.steps=5", "tasks.det=null", cases.GATED), METRICS, 2),
    "search with random gates": (cases.searching("tasks.det=null", cases.GUMBEL), METRICS, 3),
    "pretrain": (cases.searching("job=pretrain"), METRICS, 3),
    "extend": (cases.extending, METRICS, 3),
    "train cls": (cases.training("cls"), METRICS, 4),
    "train det": (cases.training("det"), METRICS, 4),
    "train seg": (cases.training("seg"), METRICS, 4),
    "train pose": (cases.training_pose, METRICS, 4),
    "train jointly": (cases.training_jointly, METRICS, 4),
    "label": (cases.labelling, r"/masks/.*\.png$", 8),
    "FNA++ search": (cases.fna_search, METRICS, 3),
    "FNA++ adaptation": (cases.fna_adaptation, METRICS, 4),
    "FPNAS search": (cases.fpnas_search, r"/\.candidate-02\.json\.", 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", some_on_request(list(RUNS), OTHERS))
def test_a_resumed_run_equals_an_uninterrupted_one(name, tmp_path):
    case, pattern, count = RUNS[name]
    given = case(tmp_path / "reads")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    cases.take([*given, f"output={whole}"])
    assert run(cases.take_until, [*given, f"output={killed}"], pattern, count).returncode == 9
    left = {path.relative_to(killed).as_posix() for path in killed.rglob("*") if path.is_file()}
    cases.take([*given, f"output={killed}", "resume=true"])
    expected = cases.outcome(whole)
    assert left
    assert expected.keys() - left
    assert cases.outcome(killed) == expected
    assert [path for path in killed.rglob(".*") if "partial" in path.name or path.name == LOCK] == []
