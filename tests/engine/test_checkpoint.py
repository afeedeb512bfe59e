"""Checkpoints: whole, few, and read without running code."""

from __future__ import annotations

import pickle
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import save_weights
from fbnetv5.engine.checkpoint import Checkpointer, refused
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


def test_what_a_killed_run_has_not_dropped_is_dropped(tmp_path):
    for step in (1, 2, 3):
        Checkpointer(tmp_path, {}, keep=3).save(step, nn.Linear(1, 1), {})
    (tmp_path / "step-00000001" / "state.pt").unlink()  # as of one that died as it removed it
    Checkpointer(tmp_path, {}, keep=2).drop_old()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


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


def spoil(folder: Path, change: dict[str, object]) -> None:
    """Write a checkpoint of step 1 whose state has other values under some keys; None removes a key."""
    Checkpointer(folder, {}).save(1, nn.Linear(1, 1), {})
    file = folder / "step-00000001" / "state.pt"
    content = torch.load(file, weights_only=True) | change
    torch.save({key: value for key, value in content.items() if value is not None}, file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": 10**9}, "of step 1000000000"),
        ({"step": "1"}, "no 'step' that is a int"),
        ({"step": None}, "no 'step'"),
        ({"identity": None}, "no 'identity'"),
        ({"identity": 5}, "no 'identity'"),
        ({"identity": "{"}, "not JSON"),
        ({"identity": "[" * 10**5}, "nests too deep"),
        ({"identity": "[]"}, "no 'identity' that is a mapping"),
        ({"state": None}, "no 'state'"),
        ({"state": [1]}, "no 'state' that is a dict"),
    ],
)
def test_a_tampered_checkpoint_is_refused_with_what_is_wrong(tmp_path, change, reason):
    spoil(tmp_path, change)
    with pytest.raises(InputError, match=f"step-00000001 is no checkpoint .*{reason}.*; delete .*step-00000001 to use"):
        Checkpointer(tmp_path, {}).latest()


def test_a_refused_pickle_is_one_line_without_advice_to_trust_it(tmp_path):
    Checkpointer(tmp_path, {}).save(1, nn.Linear(1, 1), {})
    for content in (pickle.dumps(Path("/")), b"", b"garbage"):
        (tmp_path / "step-00000001" / "state.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"cannot read .*state.pt") as caught:
            Checkpointer(tmp_path, {}).latest()
        assert "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = nn.Linear(1, 1)
    Checkpointer(tmp_path, {}).save(1, model, {})
    nn.init.constant_(model.bias, float("nan"))
    save_weights(tmp_path / "step-00000001" / "model.safetensors", model.state_dict())
    with pytest.raises(InputError, match=r"'bias' holds values that are infinite or no numbers.*; delete"):
        Checkpointer(tmp_path, {}).latest()


NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    "error", [NO_MEMORY, PermissionError(13, "Permission denied"), OSError(5, "Input/output error")]
)
def test_a_sound_checkpoint_that_cannot_be_read_now_is_not_to_be_deleted(tmp_path, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    Checkpointer(tmp_path, {}).save(1, nn.Linear(1, 1), {})
    monkeypatch.setattr("torch.load", fail)
    with pytest.raises(InputError) as caught:
        Checkpointer(tmp_path, {}).latest()
    assert "delete" not in str(caught.value)
    with pytest.raises(torch.OutOfMemoryError), refused(tmp_path):
        raise NO_MEMORY


def test_folders_that_are_no_checkpoints_are_passed_over(tmp_path):
    Checkpointer(tmp_path, {}).save(1, nn.Linear(1, 1), {})
    (tmp_path / "step-old").mkdir()
    latest = Checkpointer(tmp_path, {}).latest()
    assert latest is not None
    assert latest.step == 1
