"""The device of a process, and how it multiplies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from fbnetv5.base.errors import InputError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device that ``runtime.device`` asks for: ``auto`` is CUDA where there is one, else the CPU.

    Of several CUDA devices that torch sees, a process takes the one of its rank on this machine. It takes the only one
    where the scheduler has given each of its tasks one and hides the others, as Slurm does (``--gpus-per-task=1``). A
    Mac's MPS is no device here: it has no float64, and nothing has been tried on it.

    Raises:
        InputError: CUDA was asked for and there is none, or there are fewer devices than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cuda":
        return torch.device(name)
    if not torch.cuda.is_available():
        raise InputError("runtime.device=cuda, but this machine has no CUDA device that torch can use")
    count, processes = torch.cuda.device_count(), local_world_size()
    if 0 <= local_rank < count:
        return torch.device("cuda", local_rank)
    if count == 1 and processes == 1:
        return torch.device("cuda", 0)
    raise InputError(
        f"this process is number {local_rank} (LOCAL_RANK) on this machine, where torch sees {count} CUDA device(s): "
        f"start at most {count} process(es), or give runtime.device=cpu"
    )


def local_world_size() -> int:
    """Return the processes that share a run on this machine; 1 where none does, whatever a scheduler started."""
    return environment_number("LOCAL_WORLD_SIZE", 1)


def environment_number(name: str, default: int) -> int:
    """Return the whole number, at least 0, that an environment variable holds. Raises InputError if it is none."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"the environment variable {name} is '{text}'; it should be a whole number")
    return int(text)


@contextlib.contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Within the context float32 products on GPUs may, or may not, round their factors to TF32's 10 bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
