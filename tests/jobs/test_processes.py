"""Two processes find what one finds: each takes its share of an iteration, and all gather the same numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import cases
from tests.jobs.runs import in_processes, torchrun
from tests.on_request import ON_REQUEST, some_on_request
from tests.processes import run

# a low rate and 4 images an architecture: training multiplies a rounding error by less than 10 a step
SEARCH = ("runtime.precision=float64", "optimizer.lr=0.02", "search.batch_size=16", "search.steps=4")
TRAIN = (
    "runtime.precision=float64",
    "optimizer.name=sgd",
    "optimizer.lr=0.01",
    "train.steps=3",
    "train.eval_every=null",
)
TWO_TASKS = "tasks.det=null"
HALVES = "train.accumulate=2"  # one process that cuts its batch in two sees the micro-batches of two processes
OTHERS = {
    "search of the paper",
    "search with gates",
    "search with random gates",
    "pretrain",
    "extend",
    "train cls",
    "train det",
    "train seg",
    "FNA++ adaptation",
}  # each like one that is not
RUNS = {  # the run, what both add to it, what one process alone adds, the relative tolerance
    "search": (cases.searching("search.last_look.neighbours=true"), SEARCH, (), 1e-7),
    "search of the paper": (cases.searching(*cases.PAPER), SEARCH, (), 1e-7),
    "search with gates": (cases.searching(TWO_TASKS, cases.GATED), SEARCH, (), 1e-7),
    "search with random gates": (cases.searching(TWO_TASKS, cases.GUMBEL), SEARCH, (), 1e-7),
    "pretrain": (cases.searching("job=pretrain"), SEARCH, (), 1e-7),
    "extend": (cases.extending, SEARCH, (), 1e-7),
    "train cls": (cases.training("cls"), TRAIN, (HALVES,), 1e-7),
    "train det": (cases.training("det"), TRAIN, (HALVES,), 1e-4),
    "train seg": (cases.training("seg"), TRAIN, (HALVES,), 1e-4),
    "train pose": (cases.training_pose, TRAIN, (HALVES,), 1e-7),
    "train jointly": (cases.training_jointly, TRAIN, (HALVES,), 1e-7),
    "FNA++ search": (cases.fna_search, ("runtime.precision=float64", "train.batch_size=8"), (HALVES,), 1e-6),
    "FNA++ adaptation": (cases.fna_adaptation, TRAIN, (HALVES,), 1e-6),
}


def numbers(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values in a nest of dictionaries and lists, and where they stand."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(one, f"{place}/{key}")
    else:
        yield place, value


def results(folder: Path) -> dict[str, Any]:
    """Return what a run has logged, chosen and counted, and what its choices are drawn from.

    Metrics of a trained model are not among them: running statistics of BN depend on how a batch is cut.
    """
    found = cases.outcome(folder)
    state = found[max(name for name in found if name.endswith("state.pt"))]["state"]
    kept = {"algorithm": state.get("algorithm"), "architecture": state.get("architecture")}
    kept |= {
        name: found[name] for name in found if re.match(r"(metrics\.jsonl|topology|architecture)(?!.*\.png$)", name)
    }
    return kept | {"images": found.get("metrics.json", {}).get("metrics", {}).get("num_images")}


@pytest.mark.slow
@pytest.mark.parametrize("name", some_on_request(list(RUNS), OTHERS))
def test_two_processes_equal_one(name, tmp_path):
    case, both, alone, tolerance = RUNS[name]
    given = [*case(tmp_path / "reads"), *both]
    one, two = tmp_path / "one", tmp_path / "two"
    cases.take([*given, *alone, f"output={one}"])
    spread = [*given, f"output={two}"]
    as_a_user = {"train pose": torchrun, "train cls": in_processes}.get(name)
    result = as_a_user(spread, 2) if as_a_user else run(cases.take, spread, processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    expected, found = dict(numbers(results(one))), dict(numbers(results(two)))
    for place, value in expected.items():
        assert found[place] == (pytest.approx(value, rel=tolerance, abs=1e-9) if isinstance(value, float) else value)
    assert found.keys() == expected.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "overrides", "processes"),
    [(cases.labelling, (), 2), pytest.param(cases.fpnas_search, ("project.jobs=2",), 1, marks=ON_REQUEST)],
    ids=["label", "FPNAS search"],
)
def test_two_processes_write_the_files_of_one(case, overrides, processes, tmp_path):
    given = case(tmp_path / "reads")
    cases.take([*given, f"output={tmp_path / 'one'}"])
    result = run(cases.take, [*given, f"output={tmp_path / 'two'}", *overrides], processes=processes)
    assert result.returncode == 0, result.stderr[-3000:]
    assert cases.outcome(tmp_path / "two") == cases.outcome(tmp_path / "one")
