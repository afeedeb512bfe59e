"""Jobs in processes of their own: one that is killed takes nothing else with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.runs.outcome import LOG, Outcome, ended, error_line
from fbnetv5.runs.plan import SweepJob

ROOT = Path(__file__).parents[2]
GRACE = 10.0  # seconds that an interrupted job has to end by itself
POLL = 0.2  # seconds
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def job_command(file: Path, job: SweepJob, processes: int = 1) -> list[str]:
    """Return the command line of one job; of several processes under torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    launcher = torchrun if processes > 1 else []
    return [sys.executable, *launcher, "-m", "fbnetv5.cli.launch", f"--config={file}", *job.overrides]


def job_environment() -> dict[str, str]:
    """Return the environment of one job: this package importable, tracebacks whole, no terminal of its own."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    quiet = "ignore:.*torch.jit.script.*:DeprecationWarning"
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HYDRA_FULL_ERROR": "1", "PYTHONWARNINGS": quiet}


@dataclass
class _Running:
    job: SweepJob
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    log_start: int  # bytes that earlier runs have logged
    started: float

    def end(self) -> Outcome:
        self.log.close()
        with Path(self.log.name).open("rb") as log:
            log.seek(self.log_start)
            text = log.read().decode(errors="replace")
        return ended(self.job, error_line(self.process.returncode, text), self.started)


def run_in_processes(
    file: Path, jobs: Sequence[SweepJob], at_a_time: int | None, runtime: RuntimeConfig
) -> Iterator[Outcome]:
    """Run jobs in processes that share the cores, or a GPU each in turn; yield how each ended, when it did.

    What a job prints goes to ``job.log`` in its folder. When the iteration ends early, as on Ctrl-C, so do the jobs.

    Args:
        file: the config.
        jobs: at least one.
        at_a_time: how many run at once; None: one a GPU, or one for every ``runtime.threads`` cores.
        runtime: of the jobs; ``threads`` None stands for an equal share of the cores.
    """
    gpus = [] if runtime.device == "cpu" else visible_gpus()
    cores = num_cores()
    count = min(len(jobs), at_a_time or len(gpus) or max(1, cores // (runtime.threads or 1)))
    threads = runtime.threads or max(1, cores // count)
    print(
        f"{len(jobs)} job(s), {count} at a time, {threads} thread(s) each; {jobs[0].folder.parent}/*/{LOG}", flush=True
    )
    waiting, running, free = list(jobs), dict[int, _Running](), list(range(count))
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that kill ends the jobs as well
    try:
        while waiting or running:
            while waiting and free:
                slot = free.pop(0)
                device = gpus[slot % len(gpus)] if gpus else None
                running[slot] = _start(file, waiting.pop(0), threads, device)
            for slot, one in list(running.items()):
                if one.process.poll() is not None:
                    del running[slot]
                    free.append(slot)
                    yield one.end()
            time.sleep(POLL)
    finally:
        _stop(list(running.values()))
        signal.signal(signal.SIGTERM, previous)


def _start(file: Path, job: SweepJob, threads: int, device: str | None) -> _Running:
    environment = job_environment() | dict.fromkeys(THREADS, str(threads))
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    job.folder.mkdir(parents=True, exist_ok=True)
    log = (job.folder / LOG).open("ab")
    command = [*job_command(file, job), *_thread_override(job, threads)]
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
    )
    return _Running(job, process, log, log.tell(), time.monotonic())


def _thread_override(job: SweepJob, threads: int) -> list[str]:
    """Give a job its share, unless its overrides say otherwise."""
    own = any(text.lstrip("+").startswith("runtime.threads=") for text in job.overrides)
    return [] if own else [f"runtime.threads={threads}"]


def _stop(running: Sequence[_Running]) -> None:
    """Interrupt jobs with all processes that they started; kill what has not ended after a while."""
    deadline = time.monotonic() + GRACE
    for number in (signal.SIGINT, signal.SIGKILL):
        for one in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, number)
        for one in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.0, deadline - time.monotonic()) if number == signal.SIGINT else None)
    for one in running:
        one.log.close()


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the GPUs as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
