"""A few rounds of tests/kills.py, which makes hundreds on request: what dies and goes on leaves what others leave."""

from __future__ import annotations

import pytest

from tests.kills import JOBS, kill_runs
from tests.on_request import some_on_request

OTHERS = set(JOBS) - {"FNA++"}  # each takes seconds; test_resume.py kills every job once


@pytest.mark.slow
@pytest.mark.parametrize("name", some_on_request(list(JOBS), OTHERS))
def test_runs_that_are_killed_and_go_on_equal_those_that_are_not(name, tmp_path):
    (found,) = kill_runs([name], rounds=3, seed=1, folder=tmp_path).values()
    assert found.rounds == 3
    assert found.kills
    assert found.notes == []
