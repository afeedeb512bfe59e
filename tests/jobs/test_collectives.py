"""Collectives of a search step: their names and number, counted in two processes and held to a budget."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch.distributed as dist

from fbnetv5.jobs import supernet
from fbnetv5.projects.fna.search_run import SearchRun
from tests.jobs import cases
from tests.jobs.runs import arguments
from tests.on_request import ON_REQUEST
from tests.processes import run

COLLECTIVES = ("all_reduce", "broadcast", "barrier", "all_gather", "all_gather_object", "broadcast_object_list")
GATHER = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
STEP = ["all_reduce", GATHER]  # the gradients of a tiny supernet are one bucket
SHORT = ("search.steps=4", "search.batch_size=8", "search.num_samples=4", "search.last_look.candidates=0")


def count_collectives(found: Path, given: list[str], owner: Any = supernet, function: str = "supernet_step") -> None:
    """Run a search; write the collectives between the beginnings of its steps, and where their tensors lay."""
    steps: list[list[str]] = []
    places: set[str] = set()

    def noted(name: str) -> Any:
        original = getattr(dist, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            places.update(str(value.device) for value in args if hasattr(value, "device"))
            if steps:
                steps[-1].append(name)
            return original(*args, **kwargs)

        return patch.object(dist, name, call)

    original_step = getattr(owner, function)

    def step(*args: Any) -> Any:
        steps.append([])
        return original_step(*args)

    for name in (*COLLECTIVES, GATHER):
        noted(name).start()
    patch.object(owner, function, step).start()
    cases.take(given)
    if os.environ["RANK"] == "1":
        found.write_text(json.dumps([steps, sorted(places)]))


@pytest.mark.parametrize(
    ("overrides", "more"),
    [
        pytest.param((), [GATHER], id="search"),  # of label counts, which a crop of masks may change
        pytest.param((cases.GATED, "tasks.seg=null"), [], id="gates"),
        pytest.param(("data.undecodable=skip",), [GATHER, GATHER], id="skip", marks=ON_REQUEST),
    ],
)
def test_a_step_keeps_to_its_budget(tmp_path, overrides, more):
    given = arguments(*SHORT, *overrides, f"output={tmp_path / 'run'}")
    result = run(count_collectives, tmp_path / "found.json", given, processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    steps, places = json.loads((tmp_path / "found.json").read_text())
    first, *others, _ = steps  # after the last one, the run's end
    assert sorted(first) == sorted([*STEP, *more, "broadcast"])  # of rank 0's probabilities, once in a hundred steps
    assert [sorted(step) for step in others] == [sorted([*STEP, *more])] * 2
    assert places == ["cpu"]


def test_a_step_of_fna_gathers_once_for_the_weights_and_once_for_the_architecture(tmp_path):
    given = [*cases.fna_search(tmp_path), "train.steps=4", "runtime.checkpoint_every=10", f"output={tmp_path / 'run'}"]
    result = run(count_collectives, tmp_path / "found.json", given, SearchRun, "step", processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    (*steps, _), places = json.loads((tmp_path / "found.json").read_text())
    weights = [GATHER, "all_reduce"]
    assert steps == [weights] + [[*weights, GATHER]] * 2
    assert places == ["cpu"]
