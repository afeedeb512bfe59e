"""One run: the job that its configuration names, in its folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import find_function
from fbnetv5.jobs import evaluate, export, label, pretrain, search, train

JOBS = {
    "search": search.run,
    "pretrain": pretrain.run,
    "train": train.run,
    "evaluate": evaluate.run,
    "label": label.run,
    "export": export.run,
}


def run_job(config: RunConfig) -> None:
    """Run one job in its folder, ``config.output``: one of ours, or with a dot in its name, a function of a project.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    if "." not in config.job and config.job not in JOBS:
        raise InputError(f"job={config.job} is unknown; choose from {', '.join(JOBS)}{nearest(config.job, JOBS)}")
    folder = Path(config.output)
    try:
        job = find_function("job", config.job) if "." in config.job else JOBS[config.job]
        job(config, folder)
    except InputError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if nothing was written to it
        raise
