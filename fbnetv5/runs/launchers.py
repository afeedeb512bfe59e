"""Where the jobs of a sweep run: in this process, in processes beside it, or on Slurm."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import option
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.runs.outcome import Outcome, ended
from fbnetv5.runs.plan import SweepJob
from fbnetv5.runs.processes import run_in_processes
from fbnetv5.runs.slurm import run_on_slurm

LAUNCHERS = ("in-process", "processes", "slurm")


@dataclass
class LauncherConfig:
    """How a sweep runs its jobs: ``launcher=processes launcher.jobs=2``."""

    name: str = option("in-process", "in-process: one after the other; processes: beside one another; slurm")
    jobs: int | None = option(
        None, "jobs at a time; null: one a GPU, or one for every runtime.threads cores; all at once on slurm"
    )
    slurm: dict[str, Any] = option(dict, "submitit's parameters: {slurm_partition: gpu, gpus_per_node: 8}")
    cluster: str = option("slurm", "slurm; or submitit's stand-ins for it on this machine: local, debug")


def split_launcher(overrides: Sequence[str]) -> tuple[LauncherConfig, list[str]]:
    """Take ``launcher=NAME`` and ``launcher.KEY=VALUE`` out of the overrides.

    Raises:
        InputError: a key or a value of the launcher is wrong.
    """
    own = [text for text in overrides if text.startswith(("launcher=", "launcher."))]
    node = OmegaConf.structured(LauncherConfig)
    for text in own:
        try:
            override = OverridesParser.create().parse_override(text)
            key = override.key_or_group.removeprefix("launcher").lstrip(".") or "name"
            OmegaConf.update(node, key, override.value())
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"{text}: {str(error).splitlines()[0]}") from error
    config = OmegaConf.to_object(node)
    assert isinstance(config, LauncherConfig)
    if config.name not in LAUNCHERS:
        raise InputError(f"launcher={config.name} is none of {', '.join(LAUNCHERS)}{nearest(config.name, LAUNCHERS)}")
    if config.jobs is not None and config.jobs < 1:
        raise InputError(f"launcher.jobs={config.jobs} is too small: at least 1")
    if config.name != "in-process" and "WORLD_SIZE" in os.environ:
        raise InputError(f"launcher={config.name} starts processes itself: call it without torchrun")
    return config, [text for text in overrides if text not in own]


def run_jobs(
    launcher: LauncherConfig, file: Path, jobs: Sequence[SweepJob], run: Callable[[RunConfig], None]
) -> Iterator[Outcome]:
    """Run jobs where ``launcher`` says; yield how each ended, when it did."""
    if launcher.name == "processes":
        runtime = load_config(file, jobs[0].overrides).runtime
        return run_in_processes(file, jobs, launcher.jobs, runtime)
    if launcher.name == "slurm":
        return run_on_slurm(file, jobs, launcher.jobs, launcher.slurm, launcher.cluster)
    return _run_here(file, jobs, run)


def _run_here(file: Path, jobs: Sequence[SweepJob], run: Callable[[RunConfig], None]) -> Iterator[Outcome]:
    for number, job in enumerate(jobs, start=1):
        started, error = time.monotonic(), ""
        print(f"\n[{number}/{len(jobs)}] {job.name}", flush=True)
        try:
            run(load_config(file, job.overrides))
        except Exception as problem:  # whatever it is, the other jobs run
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                raise  # the other ranks may have seen none, and would wait for this one
            error = " ".join(str(problem).split())
            if not isinstance(problem, InputError):
                traceback.print_exc()
                error = f"{type(problem).__name__}: {error}"
            print(f"error: {error}", file=sys.stderr)
        if os.environ.get("RANK", "0") == "0":
            yield ended(job, error, started)
