"""How a job of a sweep ended: kept in its folder, so that a resumed sweep and reports know."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.config.read import identity, to_run_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.run_folder import CONFIG
from fbnetv5.runs.plan import SweepJob

RECORD = "job.json"
LOG = "job.log"
Status = Literal["finished", "failed", "skipped"]  # skipped: an earlier sweep finished it


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: which.
        status: skipped means that an earlier sweep finished it.
        error: one line; empty unless it failed.
        seconds: from its start to its end.
    """

    job: SweepJob
    status: Status
    error: str = ""
    seconds: float = 0.0


def ended(job: SweepJob, error: str, started: float) -> Outcome:
    """Return how ``job`` ended, by now, and write it to its folder; ``started`` is in ``time.monotonic()``."""
    outcome = Outcome(job, "failed" if error else "finished", error, time.monotonic() - started)
    record = {
        "status": outcome.status,
        "overrides": list(job.swept),
        "error": outcome.error,
        "seconds": round(outcome.seconds, 1),
    }
    write_text(job.folder / RECORD, json.dumps(record, indent=2) + "\n")
    return outcome


def read_record(folder: Path) -> dict[str, Any]:
    """Return what :func:`ended` wrote; empty where nothing, or nothing that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def is_finished(folder: Path, config: RunConfig) -> bool:
    """Whether an earlier sweep finished this very configuration in ``folder``."""
    if read_record(folder).get("status") != "finished":
        return False
    try:
        saved = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        saved.pop("defaults")
        node = OmegaConf.structured(RunConfig)
        node.merge_with(saved)
        return identity(to_run_config(node)) == identity(config)
    except (OSError, ValueError, AttributeError, KeyError, yaml.YAMLError, OmegaConfBaseException, InputError):
        return False  # running it again says what is wrong


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
        return f"killed by {signal.Signals(-status).name}{_hint(-status)}"
    lines = [line.strip() for line in log.splitlines()]
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
    return next(iter([*own[-1:], *raised[-1:]]), f"exit status {status}")


def _hint(number: int) -> str:
    return " (out of memory?)" if number == signal.SIGKILL else ""
