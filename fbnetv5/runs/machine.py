"""Cores and GPUs of this machine."""

from __future__ import annotations

import os

from fbnetv5.config.schema import RuntimeConfig

HIDDEN = ("", "-1", "NoDevFiles")  # in CUDA_VISIBLE_DEVICES, no GPU; the last is Slurm's


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus_for(runtime: RuntimeConfig) -> list[str]:
    """Return the GPUs that runs may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if runtime.device == "cpu":
        return []
    if visible:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in HIDDEN]
    import torch  # here, as a command line that is refused needs none of it

    return [str(index) for index in range(torch.cuda.device_count())]


def jobs_at_once(given: int | None, gpus: list[str], threads: int) -> int:
    """Return how many jobs of ``threads`` threads run at once: as many as ``given``, else one a GPU, else by cores."""
    return given or len(gpus) or max(1, num_cores() // threads)


def study_jobs(given: int | None) -> int:
    """Return how many jobs of a study run at once, each of one thread: see :func:`jobs_at_once`."""
    return jobs_at_once(given, gpus_for(RuntimeConfig()), 1)
