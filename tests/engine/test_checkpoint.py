"""Checkpoints: whole, few, and read without running code."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.engine.checkpoint import Checkpointer
from tests.processes import run


def test_checkpoints_come_back_and_the_oldest_go(tmp_path):
    model = nn.Linear(2, 2)
    checkpointer = Checkpointer(tmp_path, {"seed": 1}, keep=2)
    for step in (10, 20, 30):
        with torch.no_grad():
            model.weight.fill_(step)
        checkpointer.save(step, model, {"history": [torch.tensor([1.5])]})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]
    latest = checkpointer.latest()
    assert latest.step == 30
    assert latest.weights["weight"].eq(30).all()
    assert latest.state["history"][0].item() == 1.5


def test_a_checkpoint_never_unpickles_code(tmp_path):
    Checkpointer(tmp_path, {}).save(1, nn.Linear(1, 1), {})
    torch.save({"step": 1, "state": Path("/")}, tmp_path / "step-00000001" / "state.pt")
    with pytest.raises(InputError, match="cannot read"):
        Checkpointer(tmp_path, {}).latest()


def fill_the_disk(folder: Path) -> None:
    """Save a checkpoint that fits and one that does not."""
    checkpointer = Checkpointer(folder, {})
    checkpointer.save(1, nn.Linear(4, 4), {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        checkpointer.save(2, nn.Linear(400, 400), {})
    except InputError as error:
        print(error)
    latest = checkpointer.latest()
    assert latest is not None
    assert latest.step == 1


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    result = run(fill_the_disk, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "cannot write" in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
