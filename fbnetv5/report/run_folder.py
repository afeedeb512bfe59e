"""Reads what a run wrote, for its report. Pieces that are missing, cut off or damaged are left out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from fbnetv5.archs.topology import ALL_PATHS, Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.engine.log import METRICS, PROBABILITIES
from fbnetv5.report.history import History

CONFIG = "config.yaml"
FINAL_METRICS = "metrics.json"
MODEL = "config.json"
DRAWN = "predictions/drawn.png"
LARGEST = 1e100  # what is larger, infinite or NaN is left out


@dataclass(frozen=True)
class FoundTopology:
    """A topology file: the blocks, and what it says of where it comes from."""

    topology: Topology
    info: Mapping[str, Any]

    @property
    def latency_ms(self) -> float | None:
        """Of the blocks that the search head saw and the trunk, where the search measured latency."""
        return _finite({"ms": self.info.get("backbone_latency_ms")}).get("ms")


@dataclass(frozen=True)
class RunFolder:
    """What a run wrote.

    Attributes:
        path: the folder.
        config_text, config: config.yaml as it stands, and its keys.
        records: of metrics.jsonl, finite numbers only, each with ``step``.
        histories: the probabilities over time, by task.
        topologies: those that a search derived, by task; none before its end.
        metrics: what metrics.json says was measured; empty where it is missing, as is ``model``.
        model: what metrics.json says of the model: family and blocks, or network; head, input_size, macs, params.
        trained: the topology of a trained model.
        date: when the run last wrote one of these files, in UTC.
    """

    path: Path
    config_text: str
    config: Mapping[str, Any]
    records: list[dict[str, float]]
    histories: Mapping[str, History]
    topologies: Mapping[str, FoundTopology]
    metrics: Mapping[str, float]
    model: Mapping[str, Any]
    trained: Topology | None
    date: datetime

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key of the configuration."""
        return _get(self.config, key, default)

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end: there are weights, or for an evaluation its results."""
        written = (WEIGHTS,) if self.get("job") != "evaluate" else (FINAL_METRICS, "predictions")
        return any((self.path / name).exists() for name in written)

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
        InputError: it holds no configuration, or a file cannot be read.
    """
    path = Path(folder)
    text = _text(path / CONFIG)
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path / CONFIG} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path / CONFIG}: there is no configuration; is {path} the folder of a run?")
    final = _json(path / FINAL_METRICS)
    files = [path / name for name in (CONFIG, METRICS, PROBABILITIES, FINAL_METRICS)]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return RunFolder(
        path=path,
        config_text=text,
        config=config,
        records=_records(_text(path / METRICS)),
        histories=_histories(_text(path / PROBABILITIES)),
        topologies=_topologies(path),
        metrics=_finite(_get(final, "metrics", {})),
        model=_mapping(_get(final, "model")),
        trained=_trained(_json(path / MODEL)),
        date=datetime.fromtimestamp(max(times), timezone.utc),
    )


def _text(path: Path) -> str:
    """The text of a file, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _get(node: Any, key: str, default: Any = None) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return default if node is None else node


def _mapping(node: Any) -> Mapping[str, Any]:
    return node if isinstance(node, Mapping) else {}


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path) or "{}")
    except ValueError:
        return {}


def _finite(record: Any) -> dict[str, float]:
    """The numbers of a record that can be drawn."""
    numbers = {k: v for k, v in _mapping(record).items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {str(key): value for key, value in numbers.items() if abs(value) < LARGEST}


def _records(text: str) -> list[dict[str, float]]:
    records = []
    for line in text.splitlines():
        try:
            record = _finite(json.loads(line))
        except ValueError:
            continue
        if "step" in record:
            records.append(record)
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


def _topologies(folder: Path) -> dict[str, FoundTopology]:
    found = {}
    for file in sorted(folder.glob("topology_*.yaml")):
        try:
            document = yaml.safe_load(_text(file))
            found[file.stem.removeprefix("topology_")] = FoundTopology(
                Topology.load(file), _mapping(_get(document, "info"))
            )
        except (InputError, yaml.YAMLError):
            continue
    return found


def _trained(document: Any) -> Topology | None:
    try:
        described = document["topology"]
        blocks = frozenset((int(stage), int(path)) for stage, path in described["blocks"])
        return Topology(int(described["num_stages"]), blocks, tuple(described["outputs"]))
    except (KeyError, TypeError, ValueError):
        return None
