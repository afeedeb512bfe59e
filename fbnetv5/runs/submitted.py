"""Runs submitted through submitit: to processes of this machine, or to Slurm."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import submitit

from fbnetv5.base.errors import InputError
from fbnetv5.runs.batch_job import BatchJob, environment_of_runs
from fbnetv5.runs.job import Job, Run
from fbnetv5.runs.place import Ended, Place
from fbnetv5.runs.process import GRACE, THREADS, environment, interruptible, printing_to
from fbnetv5.runs.record import RECORD, read_record

FOLDER = ".submitit"  # of its scripts and logs, in that of the jobs
POLL = {"local": 0.2}  # seconds; of other clusters:
POLL_CLUSTER = 2.0
PATIENCE = 15.0  # seconds in which a record becomes visible on a shared file system
FOREVER = 10 * 365 * 24 * 60  # minutes


class Share(NamedTuple):
    """A run's share of this machine: threads, and a GPU as CUDA_VISIBLE_DEVICES names it."""

    threads: int
    device: str | None = None


@dataclass(frozen=True)
class _Running:
    job: Job
    batch_job: Any
    slot: int | None
    started: float


class Submitted(Place):
    """A context in which runs are jobs of submitit. How each ended is read from its folder.

    Args:
        folder: on a file system that the nodes share, for submitit's files.
        cluster: slurm, or submitit's local or debug.
        parameters: of submitit's executor; ``gpus_per_node`` is also the number of processes of a run.
        shares: one for each run that may run at once; empty: as many as the cluster starts.

    Raises:
        InputError: submitit refuses the parameters, or finds no Slurm.
    """

    def __init__(
        self, folder: Path, cluster: str, parameters: Mapping[str, Any], *, shares: Sequence[Share] = ()
    ) -> None:
        self.count = len(shares) or sys.maxsize
        self._folder, self._cluster, self._shares = folder / FOLDER, cluster, tuple(shares)
        gpus = parameters.get("gpus_per_node", 1)
        if not isinstance(gpus, int):
            raise InputError(f"gpus_per_node={gpus} should be a whole number; the kind of GPU goes into slurm_gres")
        self._processes = max(1, gpus)
        self._running: dict[str, _Running] = {}
        with _one_line_errors(cluster):
            self._executor = submitit.AutoExecutor(folder=self._folder, cluster=cluster)
            self._executor.update_parameters(name="fbnetv5", **parameters)

    @property
    def room(self) -> int:
        """How many runs can be started now."""
        return self.count - len(self._running)

    def start(self, jobs: Sequence[Job]) -> None:
        """Submit runs; on Slurm as an array. Raises InputError where the cluster takes none."""
        taken = {running.slot for running in self._running.values()}
        free: list[int | None] = [slot for slot in range(len(self._shares)) if slot not in taken]
        free = free if self._shares else [None] * len(jobs)
        local = self._cluster == "local"
        quiet = printing_to(self._folder / "controllers.log") if local else contextlib.nullcontext()
        runs = [self._batch_job(job, slot) for job, slot in zip(jobs, free, strict=False)]
        with (
            _one_line_errors(self._cluster),
            environment(environment_of_runs()),
            quiet,
            interruptible(),
            self._executor.batch(),
        ):
            batch = [self._executor.submit(run) for run in runs]
        if not local:
            print(f"{len(batch)} job(s) submitted: {', '.join(one.job_id for one in batch)}", flush=True)
        for job, batch_job, slot in zip(jobs, batch, free, strict=False):
            self._running[job.name] = _Running(job, batch_job, slot, time.monotonic())

    def wait(self) -> list[Ended]:
        """Wait until a run has ended, and read from its folder how."""
        while True:
            done = [running for running in self._running.values() if running.batch_job.done()]
            if done:
                for running in done:
                    del self._running[running.job.name]
                return [self._read(running) for running in done]
            time.sleep(POLL.get(self._cluster, POLL_CLUSTER))

    def stop(self) -> None:
        """Cancel what has not ended; on this machine, wait until it has."""
        left = [running.batch_job for running in self._running.values()]
        for batch_job in left:
            batch_job.cancel(check=False)
        deadline = time.monotonic() + GRACE
        while self._cluster == "local" and time.monotonic() < deadline and not all(one.done() for one in left):
            time.sleep(POLL["local"])

    def _batch_job(self, job: Job, slot: int | None) -> BatchJob:
        work = job.work
        assert isinstance(work, Run), "submitit runs what train_net.py runs"
        overrides, variables = work.overrides, dict[str, str]()
        if slot is not None:
            share = self._shares[slot]
            own = any(text.lstrip("+").startswith("runtime.threads=") for text in overrides)
            overrides = overrides if own else (*overrides, f"runtime.threads={share.threads}")
            variables = dict.fromkeys(THREADS, str(share.threads))
            variables |= {} if share.device is None else {"CUDA_VISIBLE_DEVICES": share.device}
        return BatchJob(work.config, overrides, work.swept, job.folder, self._processes, variables)

    def _read(self, running: _Running) -> Ended:
        deadline = time.monotonic() + (0 if self._cluster == "local" else PATIENCE)
        record = read_record(running.job.folder)
        while not record and time.monotonic() < deadline:
            time.sleep(1.0)
            record = read_record(running.job.folder)
        seconds = time.monotonic() - running.started
        if record:
            return Ended(running.job.name, str(record.get("error", "")), float(record.get("seconds", seconds)))
        batch_job = running.batch_job
        error = f"{batch_job.state}: it has written no {RECORD}; see {batch_job.paths.stderr}"
        return Ended(running.job.name, error, seconds)


@contextlib.contextmanager
def _one_line_errors(cluster: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # submitit raises RuntimeError, ValueError, NameError, TypeError and others of its own
        raise InputError(f"submitit, cluster {cluster}, says: {' '.join(str(error).split())}") from error
