"""Where the jobs of a sweep run: in this process, in processes beside it, or on Slurm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import option
from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.runs.job import Job
from fbnetv5.runs.machine import gpus_for, jobs_at_once, num_cores
from fbnetv5.runs.place import InThisProcess, Place
from fbnetv5.runs.record import LOG
from fbnetv5.runs.submitted import FOREVER, Share, Submitted

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


def find_place(launcher: LauncherConfig, jobs: Sequence[Job], runtime: RuntimeConfig) -> Place:
    """Return where ``launcher`` says that jobs run.

    Args:
        launcher: of the sweep.
        jobs: at least one; their folders lie in one.
        runtime: of the jobs; ``threads`` None stands for an equal share of the cores.

    Raises:
        InputError: submitit refuses the parameters, or finds no Slurm.
    """
    root = jobs[0].folder.parent
    if launcher.name == "processes":
        gpus = gpus_for(runtime)
        count = min(len(jobs), jobs_at_once(launcher.jobs, gpus, runtime.threads or 1))
        threads = runtime.threads or max(1, num_cores() // count)
        print(f"{len(jobs)} job(s), {count} at a time, {threads} thread(s) each; {root}/*/{LOG}", flush=True)
        shares = [Share(threads, gpus[slot % len(gpus)] if gpus else None) for slot in range(count)]
        return Submitted(root, "local", {"timeout_min": FOREVER}, shares=shares)
    if launcher.name == "slurm":
        limit = {"slurm_array_parallelism": launcher.jobs} if launcher.jobs else {}
        return Submitted(root, launcher.cluster, limit | launcher.slurm)
    return InThisProcess(titles=True)
