"""Reads what runs wrote, for pages and tables. Pieces that are missing, cut off or damaged are left out, and named."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from fbnetv5.archs.topology import ALL_PATHS, Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.run_files import FINAL_METRICS, MODEL, TOPOLOGY, topology_file
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.engine.log import METRICS, PROBABILITIES
from fbnetv5.report.history import History
from fbnetv5.report.joint_file import JOINT, FoundJoint, read_joint
from fbnetv5.report.task_family import TaskFamily, read_families
from fbnetv5.report.task_look import LAST_LOOK, TaskLook, read_looks

CONFIG = "config.yaml"
DRAWN = "predictions/drawn.png"
EVALUATED = (FINAL_METRICS, "predictions/predictions.*", DRAWN)
CARD = "README.md"
WRITTEN: Mapping[Any, Sequence[str]] = {  # by job, at its end
    "search": (topology_file("*"),),
    "pretrain": (WEIGHTS,),
    "train": (CARD,),  # of the model, after its evaluation
    "evaluate": EVALUATED,
    "label": ("summary.json",),
    "export": ("exported.json",),
}
WRITTEN_BY_PROJECTS = (CARD, *EVALUATED, "architecture.yaml")
LARGEST = 1e100  # what is larger, infinite or NaN is left out


@dataclass(frozen=True)
class FoundTopology:
    """A topology file: the blocks, and what it says of where it comes from."""

    topology: Topology
    info: Mapping[str, Any]

    @property
    def latency_ms(self) -> float | None:
        """Of the blocks that the search head saw and the trunk, where the search measured latency."""
        return finite({"ms": self.info.get("backbone_latency_ms")}).get("ms")

    @property
    def latency_on(self) -> str | None:
        """Device, runtime and images of these milliseconds."""
        found = self.info.get("latency_on")
        return None if found is None else str(found)


@dataclass(frozen=True)
class RunFolder:
    """What a run wrote.

    Attributes:
        path: the folder.
        config_text, config: config.yaml as it stands, and its keys.
        records: of metrics.jsonl, finite numbers only, each with ``step``.
        histories: the probabilities over time, by task.
        infos: what the files of topologies say of where they come from, by task; none before the end of a search.
        topologies: those of them that hold one, by task.
        looks: what the last look found, by task; none where there was none.
        families: the topologies of many costs that it found, by task.
        joint: the topologies of one network for all tasks.
        metrics: what metrics.json says was measured; empty where it is missing, as is ``model``.
        model: what metrics.json says of the model: family and blocks, or network; head, input_size, macs, params.
        trained: the topology of a trained model.
        date: when the run last wrote one of these files, in UTC; the start of 1970 where there are none.
        damaged: a line for each file that is not what it should be.
    """

    path: Path
    config_text: str
    config: Mapping[str, Any]
    records: list[dict[str, float]]
    histories: Mapping[str, History]
    infos: Mapping[str, Mapping[str, Any]]
    topologies: Mapping[str, FoundTopology]
    looks: Mapping[str, TaskLook]
    families: Mapping[str, TaskFamily]
    joint: FoundJoint | None
    metrics: Mapping[str, float]
    model: Mapping[str, Any]
    trained: Topology | None
    date: datetime
    damaged: Sequence[str] = ()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key of the configuration."""
        return _get(self.config, key, default)

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end: something is there that its job writes then, of a search for each task."""
        tasks = [name for name, task in _mapping(self.get("tasks")).items() if task is not None]
        if self.get("job") == "search" and tasks:
            return all((self.path / topology_file(task)).exists() for task in tasks)
        written = WRITTEN.get(str(self.get("job")), WRITTEN_BY_PROJECTS)
        return any(any(self.path.glob(pattern)) for pattern in written)

    @property
    def tasks(self) -> list[str]:
        """The tasks of a search, in the order of the configuration."""
        named = map(str, _mapping(self.get("tasks")))
        return list(dict.fromkeys([*named, *self.histories, *self.topologies]))

    @property
    def drawn(self) -> Path | None:
        """The picture of sample predictions."""
        path = self.path / DRAWN
        return path if path.is_file() else None

    @property
    def header(self) -> list[str]:
        """The comments above the configuration: versions, and the number of processes."""
        lines = self.config_text.splitlines()
        first = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
        return [line.removeprefix("#").strip() for line in lines[:first]]


def read_run(folder: str | Path) -> RunFolder:
    """Read the folder of a run, finished or not.

    Raises:
        InputError: it holds no configuration.
    """
    run = read_folder(folder)
    if not run.config:
        damaged = [line for line in run.damaged if line.startswith(CONFIG)]
        missing = f"{CONFIG}: there is no configuration; is {run.path} the folder of a run?"
        raise InputError(f"{run.path}/{next(iter(damaged), missing)}")
    return run


def read_folder(folder: str | Path) -> RunFolder:
    """Read any folder as that of a run: what is not there is empty."""
    path, damaged = Path(folder), list[str]()
    config = _read(path / CONFIG, yaml.safe_load, damaged)
    final = _read(path / FINAL_METRICS, json.loads, damaged)
    files = [path / name for name in (CONFIG, METRICS, PROBABILITIES, FINAL_METRICS)]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    documents = {file: _read(file, yaml.safe_load, damaged) for file in sorted(path.glob(topology_file("*")))}
    infos = {file: _mapping(document.get("info")) for file, document in documents.items()}
    return RunFolder(
        path=path,
        config_text=_text(path / CONFIG, damaged=[]),
        config=config,
        records=_records(path / METRICS, damaged),
        histories=_histories(_text(path / PROBABILITIES, damaged)),
        infos={_task(file): info for file, info in infos.items()},
        topologies=_topologies(infos),
        looks=read_looks(_read(path / LAST_LOOK, json.loads, damaged)),
        families=read_families(path),
        joint=read_joint(path / JOINT, _read(path / JOINT, yaml.safe_load, damaged)),
        metrics=finite(final.get("metrics")),
        model=_mapping(final.get("model")),
        trained=_trained(_read(path / MODEL, json.loads, damaged)),
        date=datetime.fromtimestamp(max(times, default=0.0), timezone.utc),
        damaged=damaged,
    )


def logged_time(run: Path) -> tuple[int, float]:
    """Return the steps of a run and their seconds, those before an interruption included, from metrics.jsonl."""
    step, seconds = 0, 0.0
    for record in _records(run / METRICS, []):
        if "seconds_per_step" in record:
            seconds += record["seconds_per_step"] * (record["step"] - step)
            step = int(record["step"])
    return step, seconds


def _read(path: Path, parse: Callable[[str], Any], damaged: list[str]) -> dict[str, Any]:
    """Return the mapping that a file holds; empty where there is none, or none that can be read, which is noted."""
    try:
        text = _text(path, damaged)
        document = parse(text) if path.is_file() else {}
        if isinstance(document, dict):
            return document
        problem = "it holds no mapping"
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        problem = str(error).splitlines()[0]
    damaged.append(f"{path.name} is damaged: {problem}")
    return {}


def _text(path: Path, damaged: list[str]) -> str:
    """Return the text of a file, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        damaged.append(f"{path.name} cannot be read: {error.strerror or error}")
        return ""


def _get(node: Any, key: str, default: Any = None) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return default if node is None else node


def _mapping(node: Any) -> Mapping[str, Any]:
    return node if isinstance(node, Mapping) else {}


def finite(record: Any) -> dict[str, float]:
    """Return the numbers of a record that can be drawn."""
    numbers = {k: v for k, v in _mapping(record).items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {str(key): value for key, value in numbers.items() if abs(value) < LARGEST}


def _records(path: Path, damaged: list[str]) -> list[dict[str, float]]:
    """Return the records of metrics.jsonl that have a step."""
    records, bad = [], 0
    for line in _text(path, damaged).splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        bad += not isinstance(record, dict)
        numbers = finite(record)
        if "step" in numbers:
            records.append(numbers)
    if bad:
        damaged.append(f"{path.name} has {bad} damaged line(s)")
    return records


def _histories(text: str) -> dict[str, History]:
    rows = list(csv.reader(text.splitlines()))
    header = rows[0] if rows else []
    slots = [re.fullmatch(r"stage (\d+) / path (\d+)", name) for name in header[2:]]
    blocks = tuple((int(slot[1]), int(slot[2])) for slot in slots if slot)
    stages = max((stage for stage, _ in blocks), default=0)
    if blocks != tuple((stage, path) for stage in range(1, stages + 1) for path in ALL_PATHS):
        return {}  # the space is none of topologies
    found: dict[str, dict[int, tuple[float, ...]]] = {}
    for row in rows[1:]:
        try:
            step, values = int(row[0]), tuple(map(float, row[2:]))
        except (ValueError, IndexError):
            continue
        if len(values) == len(blocks) and all(0 <= value <= 1 for value in values):
            found.setdefault(row[1], {})[step] = values
    return {task: History(task, stages, tuple(sorted(seen.items()))) for task, seen in found.items()}


def _topologies(infos: Mapping[Path, Mapping[str, Any]]) -> dict[str, FoundTopology]:
    found = {}
    for file, info in infos.items():
        with contextlib.suppress(InputError):
            found[_task(file)] = FoundTopology(Topology.load(file), info)
    return found


def _task(file: Path) -> str:
    return file.stem.removeprefix(TOPOLOGY)


def _trained(document: Any) -> Topology | None:
    try:
        described = document["topology"]
        blocks = frozenset((int(stage), int(path)) for stage, path in described["blocks"])
        return Topology(int(described["num_stages"]), blocks, tuple(described["outputs"]))
    except (KeyError, TypeError, ValueError):
        return None
