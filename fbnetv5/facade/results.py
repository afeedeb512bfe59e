"""What runs have come to, read from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.run_files import topology_file
from fbnetv5.metrics.names import split_names
from fbnetv5.model.folder import FinalModel, load
from fbnetv5.report.history import History
from fbnetv5.report.html import REPORT
from fbnetv5.report.run_folder import RunFolder, read_run
from fbnetv5.report.task_family import TaskFamily
from fbnetv5.report.task_look import TaskLook


@dataclass(frozen=True)
class FoundTask:
    """What a search has found for one task.

    Attributes:
        name: of the task.
        file: ``topology_<task>.yaml``, which a training takes as ``model.topology``.
        topology: what the file holds.
        info: what the file says of where the topology comes from, and of its costs.
        history: the probabilities over time; None where the run did not record them.
        look: what the last look says of the blocks; None where there was none.
        family: topologies from the cheapest to the best, with their files, and others beside them; None where there is
            none.
    """

    name: str
    file: Path
    topology: Topology
    info: Mapping[str, Any]
    history: History | None
    look: TaskLook | None
    family: TaskFamily | None = None

    @property
    def probabilities(self) -> list[list[float]]:
        """The last probability that each block is selected: S stages of 4 paths; empty where none is recorded."""
        last = () if self.history is None else self.history.last
        return [list(last[start : start + 4]) for start in range(0, len(last), 4)]

    @property
    def macs(self) -> int | None:
        """Multiply-adds of the trunk and the blocks that the search head sees, for an image of the search."""
        return self.info.get("backbone_macs")

    @property
    def params(self) -> int | None:
        """Parameters of the same."""
        return self.info.get("backbone_params")

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds of the same, where the search measured them; ``info["latency_on"]`` says on what."""
        return self.info.get("backbone_latency_ms")

    def __str__(self) -> str:
        macs = "" if self.macs is None else f", {self.macs / 1e6:.1f} M MACs"
        latency = "" if self.latency_ms is None else f", {self.latency_ms:.2f} ms"
        verdict = "" if self.look is None else f", {self.look.verdict}"
        return f"{self.name}: {len(self.topology.blocks)} blocks{macs}{latency}{verdict}  {self.file}"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a finished run has come to.

    Attributes:
        run: what the folder holds: the configuration, the records of metrics.jsonl, and more.
    """

    run: RunFolder

    @property
    def folder(self) -> Path:
        """The folder of the run, and of a training's model."""
        return self.run.path

    @property
    def records(self) -> list[dict[str, float]]:
        """The curves: what metrics.jsonl holds, means of ``runtime.log_every`` steps; validation under ``val/``."""
        return self.run.records

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.folder / REPORT


@dataclass(frozen=True, eq=False)
class SearchResult(RunResult, Mapping[str, FoundTask]):
    """What a search has found, by task: ``result["det"].topology``.

    Attributes:
        tasks: what was found, in the order of the configuration.
    """

    tasks: Mapping[str, FoundTask]

    @classmethod
    def read(cls, folder: Path) -> SearchResult:
        """Read the folder of a finished search.

        Raises:
            InputError: it holds no search, or one that is not finished.
        """
        run = read_run(folder)
        if run.get("job") != "search":
            raise InputError(f"{folder} is a run of job={run.get('job')}, not a search")
        names = [name for name, entry in run.get("tasks", {}).items() if entry is not None]
        if not run.is_finished or not run.topologies.keys() >= set(names):
            raise InputError(f"{folder}: this search is not finished; resume=true goes on with it")
        families = {
            name: replace(
                family, members=[replace(one, file=str(folder / one.file)) for one in family.members if one.file]
            )
            for name, family in run.families.items()
        }
        found = {
            name: FoundTask(
                name,
                folder / topology_file(name),
                run.topologies[name].topology,
                run.topologies[name].info,
                run.histories.get(name),
                run.looks.get(name),
                families.get(name),
            )
            for name in names
        }
        return cls(run, found)

    @property
    def topologies(self) -> dict[str, Topology]:
        """The topologies, by task."""
        return {name: found.topology for name, found in self.tasks.items()}

    def __getitem__(self, task: str) -> FoundTask:
        return self.tasks[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return "\n".join([f"SearchResult of {self.folder}", *(f"  {found}" for found in self.tasks.values())])


class TrainResult(RunResult):
    """What a training has come to."""

    @classmethod
    def read(cls, folder: Path) -> TrainResult:
        """Read the folder of a finished training.

        Raises:
            InputError: it holds no training, or one that is not finished.
        """
        run = read_run(folder)
        if run.get("job") != "train":
            raise InputError(f"{folder} is a run of job={run.get('job')}, not a training")
        if not run.is_finished:
            raise InputError(f"{folder}: this training is not finished; resume=true goes on with it")
        return cls(run)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics on the validation split, by name; empty where there is none."""
        return self.run.metrics

    @cached_property
    def model(self) -> FinalModel:
        """The trained model, in evaluation mode on the CPU; read when it is first asked for.

        Raises:
            InputError: as :func:`fbnetv5.load`, which takes code of your own with ``trust_code=True``.
        """
        return load(self.folder)

    @property
    def macs(self) -> int:
        """Multiply-adds of network and head, at the size that costs are stated at."""
        return int(self.run.model.get("macs") or self.model.cost().macs)

    @property
    def params(self) -> int:
        """Parameters of network and head."""
        return int(self.run.model.get("params") or self.model.cost().params)

    def __repr__(self) -> str:
        named = split_names(self.metrics)
        shown = "".join(f"\n  {name} {value:.4g}" for name, value in self.metrics.items() if not named[name].of_class)
        return f"TrainResult of {self.folder}{shown}"
