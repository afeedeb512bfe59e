"""Studies: a graph of runs with a config of its own, and a table that grows with every run that ends."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import write_text
from fbnetv5.base.lock import locked
from fbnetv5.config.option import option
from fbnetv5.config.read import CONFIGS
from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.runs.graph import Known, Progress, run_graph, show
from fbnetv5.runs.job import Outcome, Outcomes
from fbnetv5.runs.machine import gpus_for
from fbnetv5.runs.warm import WarmProcesses

Schema = TypeVar("Schema")
Entry = TypeVar("Entry")


@dataclass
class RunEntry:
    """A config of ``train_net.py`` and what is changed in it."""

    config: str = option(MISSING, "config file, from the working directory or the project's folder")
    overrides: list[str] = option(list, "key=value as on the command line of train_net.py")


@dataclass
class TrainEntry(RunEntry):
    """A training, and what is compared of it."""

    metric: str = option(MISSING, "the metric to compare, of metrics.json: top1, AP50, mIoU; higher is better")


def find_config(entry: RunEntry) -> Path:
    """Return the config file of an entry: from the working directory, else one of the project's own.

    Raises:
        InputError: there is none.
    """
    for file in (Path(entry.config).expanduser(), CONFIGS.parent / entry.config):
        if file.is_file():
            return file.absolute()
    raise InputError(f"config {entry.config}: there is no such file")


def load_study(file: Path, schema: type[Schema], changes: Mapping[str, Any], overrides: Sequence[str] = ()) -> Schema:
    """Read the config file of a study.

    Args:
        file: YAML.
        schema: a dataclass, whose fields :func:`fbnetv5.config.option.option` declares.
        changes: what to set in it, by key; None changes nothing.
        overrides: ``key=value`` for its keys.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    try:
        node = OmegaConf.merge(
            OmegaConf.structured(schema), OmegaConf.load(file), OmegaConf.from_dotlist(list(overrides))
        )
        for key, value in changes.items():
            if value is not None:
                OmegaConf.update(node, key, value)
        config = OmegaConf.to_object(node)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}") from error
    assert isinstance(config, schema)
    return config


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise InputError unless there are seeds, each once, none below 0."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds={list(seeds)}: give at least one, each once, none below 0")


def chosen(entries: Mapping[str, Entry], names: Sequence[str] | None, key: str) -> dict[str, Entry]:
    """Return the entries of ``names``, all if None.

    Args:
        entries: of a config, by name.
        names: of those to keep.
        key: of the entries in the config.

    Raises:
        InputError: there is no entry of a name, or there are no entries.
    """
    for name in names or ():
        if name not in entries:
            raise InputError(f"{key}: there is no '{name}'{nearest(name, entries)}")
    if not entries:
        raise InputError(f"{key} are missing")
    return dict(entries) if names is None else {name: entries[name] for name in names}


class Study(ABC):
    """A study in the folder ``root``.

    Attributes:
        results: file in it that takes all numbers.
        table: file in it that takes the table.
    """

    results: ClassVar[str]
    table: ClassVar[str]

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def describe(self) -> str:
        """Return in one line what is about to be run."""

    @abstractmethod
    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the jobs that are known when some have ended."""

    @abstractmethod
    def gather(self, outcomes: Outcomes) -> dict[str, Any]:
        """Return all numbers that there are when some jobs have ended, as plain data; under "failed" errors by job."""

    @abstractmethod
    def markdown(self, results: dict[str, Any]) -> str:
        """Return the page that the table stands on."""

    def write(self, outcomes: Outcomes) -> None:
        """Write all numbers that there are, and the table."""
        results = self.gather(outcomes)
        write_text(self.root / self.results, json.dumps(results, indent=1, allow_nan=False) + "\n")
        write_text(self.root / self.table, self.markdown(results))


def run_study(study: Study, *, num_processes: int, resume: bool) -> bool:
    """Run what is not finished of a study, and rewrite its files whenever a job ends.

    Return whether none failed, and no number is missing.

    Args:
        study: what to run.
        num_processes: jobs at a time, each in a process of one thread.
        resume: go on with the study that its folder holds.

    Raises:
        InputError: the configuration is wrong, or the folder holds a study and ``resume`` is not set.
    """
    root = study.root
    if (root / study.results).exists() and not resume:
        raise InputError(f"{root / study.results} is there already: --resume goes on with it, or write elsewhere")

    def on_end(outcome: Outcome, progress: Progress) -> None:
        if outcome.status != "skipped":
            study.write(progress.outcomes)
        show(outcome, progress)

    with locked(root):
        print(f"{study.describe()}, {num_processes} at a time; writing to {root}", flush=True)
        if not (root / study.results).exists():  # what a study that goes on has found stays until there is more
            study.write({})
        with WarmProcesses(num_processes, devices=gpus_for(RuntimeConfig())) as place:
            outcomes = run_graph(study.jobs, place, on_end)
    study.write(outcomes)  # once more, for the jobs that were done already
    page = (root / study.table).read_text(encoding="utf-8")
    print(f"\n{page}\ntable: {root / study.table}\nall numbers: {root / study.results}")
    unread = read_json(root / study.results).get("failed")
    return all(outcome.is_finished for outcome in outcomes.values()) and not unread
