"""What submitit runs, on this machine or on a node: one run in a process of its own, and the record of its end.

It imports little, as all it does is wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fbnetv5.runs.process import GRACE, how_it_died
from fbnetv5.runs.record import LOG, write_record

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class BatchJob:
    """A run in a process of its own, or several. Preempted or out of time, it is queued again and resumes.

    Attributes:
        config: file, at a path that the node sees.
        overrides: of the run.
        swept: those that tell it from the other runs.
        folder: of the run, where ``job.log`` takes what it prints and ``job.json`` how it ended.
        processes: that share it.
        environment: variables of the run, beside those of the node.
    """

    config: Path
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    folder: Path
    processes: int
    environment: Mapping[str, str]

    def __call__(self) -> None:
        """Run it to its end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path, started = self.folder / LOG, time.monotonic()
        before = path.stat().st_size if path.exists() else 0
        with path.open("ab") as log:
            process = subprocess.Popen(
                self._command(),
                env={**os.environ, **environment_of_runs(), **self.environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = process.wait()
        finally:
            assert process.stdin is not None
            process.stdin.close()  # the run ends, if it has not
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)  # for its step and a checkpoint; a scheduler ends both when this process ends
        with path.open("rb") as printed:
            printed.seek(before)
            error = error_line(status, printed.read().decode(errors="replace"))
        write_record(self.folder, self.swept, error, time.monotonic() - started)

    def checkpoint(self) -> Any:
        """Return what submitit queues when Slurm is about to end the job."""
        import submitit  # here, as a run needs none of it

        kept = tuple(text for text in self.overrides if not text.startswith("resume="))
        return submitit.helpers.DelayedSubmission(dataclasses.replace(self, overrides=(*kept, "resume=true")))

    def _command(self) -> list[str]:
        shared = [f"--processes={self.processes}"] if self.processes > 1 else []
        given = [f"--config={self.config}", *shared, *self.overrides]
        return [sys.executable, "-m", "fbnetv5.runs.child", "fbnetv5.cli.launch", *given]


def environment_of_runs() -> dict[str, str]:
    """Return variables for runs: this package importable, tracebacks whole, no known warnings."""
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    quiet = "ignore:.*torch.jit.script.*:DeprecationWarning"
    return {"PYTHONPATH": os.pathsep.join(paths), "HYDRA_FULL_ERROR": "1", "PYTHONWARNINGS": quiet}


def error_line(status: int, log: str) -> str:
    """Say in one line why a process failed.

    Args:
        status: as subprocess gives it: negative for a signal.
        log: what it printed, stdout and stderr.

    Returns:
        empty for status 0; its own last error line, or its last exception, or the signal that ended it.
    """
    if status == 0:
        return ""
    if status < 0:
        return how_it_died(status)
    lines = [line.strip() for line in log.splitlines()]
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
    return next(iter([*own[-1:], *raised[-1:]]), f"exit status {status}")
