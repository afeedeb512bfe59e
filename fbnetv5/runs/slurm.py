"""Jobs on Slurm, through submitit: each a batch job, its processes started by torchrun where it has several GPUs."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.runs.outcome import LOG, Outcome, ended, error_line
from fbnetv5.runs.plan import SweepJob
from fbnetv5.runs.processes import job_command, job_environment

POLL = 2.0  # seconds
FOLDER = ".slurm"  # of the batch scripts, in the sweep's


@dataclasses.dataclass(frozen=True)
class BatchJob:
    """What a node runs: a job in a process of its own. Preempted or out of time, it is queued again and resumes."""

    file: Path
    job: SweepJob
    processes: int

    def __call__(self) -> tuple[int, str]:
        """Return the exit status and what was printed, which ``job.log`` in the job's folder has as well."""
        self.job.folder.mkdir(parents=True, exist_ok=True)
        path = self.job.folder / LOG
        before = path.stat().st_size if path.exists() else 0
        with path.open("ab") as log:
            command = job_command(self.file, self.job, self.processes)
            done = subprocess.run(command, env=job_environment(), stdout=log, stderr=subprocess.STDOUT, check=False)
        return done.returncode, path.read_bytes()[before:].decode(errors="replace")

    def checkpoint(self) -> Any:
        """What submitit calls before Slurm ends the job."""
        import submitit

        kept = tuple(text for text in self.job.overrides if not text.startswith("resume="))
        return submitit.helpers.DelayedSubmission(
            dataclasses.replace(self, job=dataclasses.replace(self.job, overrides=(*kept, "resume=true")))
        )


def run_on_slurm(
    file: Path, jobs: Sequence[SweepJob], at_a_time: int | None, parameters: Mapping[str, Any], cluster: str
) -> Iterator[Outcome]:
    """Submit jobs and wait; yield how each ended, when it did. When the iteration ends early, they are cancelled.

    Args:
        file: the config, at a path that the nodes see.
        jobs: at least one; their folders must be on a file system that the nodes share.
        at_a_time: how many may run at once; None: as many as Slurm starts.
        parameters: for submitit's executor; ``gpus_per_node`` is also the number of processes of a job.
        cluster: slurm, or submitit's local or debug.

    Raises:
        InputError: submitit is missing, refuses the parameters, or finds no Slurm.
    """
    executor = _executor(jobs[0].folder.parent / FOLDER, at_a_time, parameters, cluster)
    processes = max(1, int(parameters.get("gpus_per_node", 1)))
    with executor.batch():
        submitted = [executor.submit(BatchJob(file, job, processes)) for job in jobs]
    print(f"{len(jobs)} job(s) submitted: {', '.join(one.job_id for one in submitted)}", flush=True)
    started, waiting = time.monotonic(), dict(zip(jobs, submitted, strict=True))
    try:
        while waiting:
            for job, batch_job in list(waiting.items()):
                if batch_job.done():
                    del waiting[job]
                    yield ended(job, _error(batch_job), started)
            time.sleep(POLL if waiting else 0)
    finally:
        for batch_job in waiting.values():
            batch_job.cancel()


def _executor(folder: Path, at_a_time: int | None, parameters: Mapping[str, Any], cluster: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise InputError("launcher=slurm needs submitit: pip install --editable '.[sweep]'") from error
    limit = {"slurm_array_parallelism": at_a_time} if at_a_time else {}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name="fbnetv5", **limit, **parameters)
    except Exception as error:  # submitit raises RuntimeError, ValueError, NameError, TypeError and others of its own
        raise InputError(f"launcher=slurm: submitit says: {' '.join(str(error).split())}") from error
    return executor


def _error(batch_job: Any) -> str:
    """Say in one line why a batch job failed; empty if it did not."""
    try:
        return error_line(*batch_job.result())
    except Exception as error:  # killed, cancelled, out of time or memory: submitit has a class for each
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{batch_job.state}: {lines[0] if lines else type(error).__name__}"
