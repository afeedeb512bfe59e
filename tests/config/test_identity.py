"""Under which other configuration a run goes on."""

from __future__ import annotations

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.config.identity import check_identity


def test_another_last_look_is_taken_at_what_was_learnt_if_images_were_kept_for_it(tmp_path):
    key = "search.last_look."
    then = {f"{key}candidates": 12, f"{key}images": 8, f"{key}family": 0}
    check_identity(then | {f"{key}candidates": 16, f"{key}family": 8, f"{key}neighbours": True}, then, tmp_path)
    for changed in ({f"{key}candidates": 0}, {f"{key}images": 16}):
        for now, before in ((then | changed, then), (then, then | changed)):
            with pytest.raises(InputError, match=f"{next(iter(changed))} was"):
                check_identity(now, before, tmp_path)


def test_a_run_that_met_a_damaged_image_goes_on_without_it(tmp_path):
    check_identity({"data.undecodable": "skip", "seed": 0}, {"data.undecodable": "error", "seed": 0}, tmp_path)


def test_tasks_in_another_order_are_another_configuration(tmp_path):
    """Logits, histories and states of the optimiser go by the place of a task."""
    then, now = {"tasks.a.path": 1, "tasks.b.path": 1, "seed": 0}, {"seed": 0, "tasks.b.path": 1, "tasks.a.path": 1}
    check_identity(then, {"seed": 0, "tasks.a.path": 1, "tasks.b.path": 1}, tmp_path)
    both = then | {"tasks.a.width": 2}
    check_identity(both, {"tasks.a.width": 2} | then, tmp_path)  # in whatever order a task has its own keys
    with pytest.raises(InputError, match="the tasks were in another order"):
        check_identity(now, then, tmp_path)
