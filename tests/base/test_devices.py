"""Which device a process takes where torch sees none, one or several; and how it multiplies."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.base.devices import pick_device
from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """A function that makes torch see so many CUDA devices, and torchrun have started so many processes."""

    def seen(devices: int, processes: int | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    return seen


@pytest.mark.parametrize(
    ("devices", "processes", "local_rank", "expected"),
    [
        (8, 8, 7, "cuda:7"),
        (8, None, 0, "cuda:0"),
        (8, 4, 3, "cuda:3"),
        (1, None, 3, "cuda:0"),  # Slurm shows each of its tasks the one that is its own
        (1, 1, 0, "cuda:0"),
    ],
)
def test_each_process_has_a_gpu_of_its_own(machine, devices, processes, local_rank, expected):
    machine(devices, processes)
    assert str(pick_device("auto", local_rank)) == str(pick_device("cuda", local_rank)) == expected


@pytest.mark.parametrize(("devices", "processes", "local_rank"), [(1, 2, 1), (4, 8, 4), (2, None, 2)])
def test_more_processes_than_gpus_are_refused(machine, devices, processes, local_rank):
    machine(devices, processes)
    with pytest.raises(InputError, match=rf"LOCAL_RANK.* sees {devices} CUDA device.* at most {devices} process"):
        pick_device("cuda", local_rank)


def test_without_cuda_there_is_the_cpu(machine):
    machine(0)
    with pytest.raises(InputError, match="no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto", 3).type == "cpu"  # on a Mac too


@pytest.mark.parametrize("text", ["x", "-1", ""])
def test_a_rank_that_is_no_number_is_named(monkeypatch, text):
    monkeypatch.setenv("LOCAL_RANK", text)
    with pytest.raises(InputError, match="LOCAL_RANK"), start_world("cpu"):
        pass


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_as_asked_for_within_a_run_alone(allowed):
    def products() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = products()
    with start_world("cpu", tf32=allowed):
        assert products() == (allowed, allowed)
    assert products() == before
