"""Jobs: what is run, in which folder, what it waits for, whether it is done, and how it ended."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fbnetv5.base.errors import InputError
from fbnetv5.config.identity import identity
from fbnetv5.config.read import CONFIG, load_config, to_run_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.runs.record import LOG, read_record

Status = Literal["finished", "failed", "skipped", "not run"]


@dataclass(frozen=True)
class Run:
    """A run as ``train_net.py`` does it.

    Attributes:
        config: its file.
        overrides: all of them, with ``output``, each of one value.
        run: does it, ``fbnetv5.cli.launch.run_job``.
        swept: those that tell it from the other runs of a sweep.
    """

    config: Path
    overrides: tuple[str, ...]
    run: Callable[[RunConfig], None]
    swept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """A function of a module, called with plain data, which writes its result to a file.

    Attributes:
        function: does it.
        data: what it is called with.
        is_done: whether the result for this very data is there.
    """

    function: Callable[[Any], None]
    data: Any
    is_done: Callable[[Any], bool]


@dataclass(frozen=True)
class Job:
    """One job of a graph.

    Attributes:
        name: of its own in the graph, such as ``seed-0/search``.
        work: what is done.
        folder: where it is done; of a run, its ``output``.
        after: names of the jobs that must have finished before.
        group: jobs of one group take about equally long.
    """

    name: str
    work: Run | Call
    folder: Path
    after: tuple[str, ...] = ()
    group: str = ""

    @property
    def log(self) -> Path:
        """The file that what it prints is appended to, where it runs in another process."""
        return self.folder / (LOG if isinstance(self.work, Run) else f"{self.name}.log")


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: which.
        status: skipped means that it had been done before; not run, that one it waits for did not finish.
        error: one line; empty unless it failed or was not run.
        seconds: from its start to its end.
    """

    job: Job
    status: Status
    error: str = ""
    seconds: float = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether the job is done, now or before."""
        return self.status in ("finished", "skipped")


Outcomes = Mapping[str, Outcome]


def finished(outcomes: Outcomes) -> set[str]:
    """Return the names of the jobs that are done."""
    return {name for name, outcome in outcomes.items() if outcome.is_finished}


def errors(outcomes: Outcomes) -> dict[str, str]:
    """Return by name why jobs failed or were not run."""
    return {name: outcome.error for name, outcome in outcomes.items() if not outcome.is_finished}


def is_done(job: Job) -> bool:
    """Whether this very job has been done before; a run of another configuration in its folder is not it."""
    work, folder = job.work, job.folder
    if isinstance(work, Call):
        return work.is_done(work.data)
    if read_record(folder).get("status") != "finished":
        return False
    saved = saved_config(folder)
    try:
        return saved is not None and _settings(saved) == _settings(load_config(work.config, work.overrides))
    except InputError:
        return False  # running it again says what is wrong


def saved_config(folder: Path) -> RunConfig | None:
    """Return the configuration that the run in a folder was started with; None if there is none that can be read."""
    try:
        saved = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        saved.pop("defaults")
        node = OmegaConf.structured(RunConfig)
        node.merge_with(saved)
        return to_run_config(node)
    except (OSError, ValueError, AttributeError, KeyError, yaml.YAMLError, OmegaConfBaseException, InputError):
        return None


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return, flat, what a run's results depend on: of an evaluation or an export, its own keys and its data too."""
    own = {"evaluate": config.evaluate, "export": config.export}.get(config.job)
    settings = identity(config)
    return settings if own is None else {**settings, "own": own, "data.root": config.data.root}


def do(work: Run | Call) -> None:
    """Do the work of a job in this process.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    if isinstance(work, Call):
        work.function(work.data)
    else:
        work.run(load_config(work.config, work.overrides))


def attempt(work: Run | Call) -> str:
    """Do the work of a job in this process; return its error in one line, empty if there is none."""
    try:
        do(work)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return " ".join(str(error).split())
    except Exception as error:  # whatever it is, the other jobs run
        traceback.print_exc()
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""
