"""Read what runs have left in their folders into rows of one table; what is damaged is named, never a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.engine.log import METRICS as STEPS
from fbnetv5.engine.run_folder import CONFIG
from fbnetv5.jobs.evaluate import METRICS
from fbnetv5.runs.outcome import RECORD

HOW_IT_RAN = ("output", "resume", "name", "runtime.", "evaluate.")  # keys that differ without making runs differ


@dataclass
class Row:
    """One line of the table: a training, or one task of a search.

    Attributes:
        run: the run's folder.
        task: of a search, its name; of a training, the class of its head.
        status: finished, failed or unfinished.
        note: why it failed, how far it came, and which files are damaged.
        config: flat, the keys that make runs differ.
        values: numbers by name: macs, params, and metrics or the last loss.
    """

    run: Path
    task: str = ""
    status: str = "unfinished"
    note: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Return the folders of runs at or below ``places``, in order.

    Raises:
        InputError: a place does not exist, or there are no runs.
    """
    runs: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: there is no such folder")
        found = {file.parent for name in (CONFIG, RECORD) for file in place.rglob(name)}
        runs += sorted(run for run in found if run not in runs)
    if not runs:
        raise InputError(f"no runs in {', '.join(map(str, places))}: none has a {CONFIG} or {RECORD}")
    return runs


def read_run(run: Path) -> list[Row]:
    """Return the rows of one run: at least one, whatever state its files are in."""
    damaged: list[str] = []
    document = _read(run / CONFIG, yaml.safe_load, damaged)
    record = _read(run / RECORD, json.loads, damaged)
    steps = _steps(run / STEPS, damaged)
    config = {key: value for key, value in _flatten(document).items() if not key.startswith(HOW_IT_RAN)}
    topologies = {file: _read(file, yaml.safe_load, damaged) for file in sorted(run.glob("topology_*.yaml"))}
    report = _read(run / METRICS, json.loads, damaged)
    rows = [_searched(run, file, topology, steps) for file, topology in topologies.items()]
    if report or not rows:
        rows.append(_trained(run, report))
    done = bool(topologies) or bool(report) or (document.get("job") == "pretrain" and (run / WEIGHTS).exists())
    failed = record.get("status") == "failed" and not done
    status = "finished" if done else "failed" if failed else "unfinished"
    why = [str(record.get("error", ""))] if failed else [f"step {steps['step']:.0f}"] if not done and steps else []
    for row in rows:
        row.config, row.status, row.note = config, status, "; ".join([*why, *damaged])
    return rows


def differing(rows: Sequence[Row]) -> list[str]:
    """Return the configuration's keys that have more than one value among the runs that have one."""
    runs = {row.run: row.config for row in rows if row.config}
    keys = dict.fromkeys(key for config in runs.values() for key in config)
    return [key for key in keys if len({json.dumps(c.get(key), default=str) for c in runs.values()}) > 1]


def _searched(run: Path, file: Path, topology: Mapping[str, Any], steps: Mapping[str, float]) -> Row:
    info = topology.get("info")
    info = info if isinstance(info, dict) else {}
    task = str(info.get("task", file.stem.removeprefix("topology_")))
    names = {"macs": "backbone_macs", "params": "backbone_params", "latency_ms": "backbone_latency_ms"}
    names |= {"blocks": "selected_blocks"}
    values = {name: info.get(key) for name, key in names.items()}
    return Row(run, task, values=_numbers({**values, "loss": steps.get(f"loss/{task}")}))


def _trained(run: Path, report: Mapping[str, Any]) -> Row:
    model, metrics = report.get("model"), report.get("metrics")
    model = model if isinstance(model, dict) else {}
    metrics = metrics if isinstance(metrics, dict) else {}
    overall = {name: value for name, value in metrics.items() if "/" not in name}
    head = str(model.get("head", "")).rsplit(".", 1)[-1]
    return Row(run, head, values=_numbers({**model, **overall}))


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {k: v for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _read(file: Path, parse: Callable[[str], Any], damaged: list[str]) -> dict[str, Any]:
    """Return a file's mapping; empty where there is no file, or where it is damaged, which is then noted."""
    if not file.exists():
        return {}
    try:
        document = parse(file.read_text(encoding="utf-8"))
        if isinstance(document, dict):
            return document
        problem = "it holds no mapping"
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        problem = str(error).splitlines()[0]
    damaged.append(f"{file.name} is damaged: {problem}")
    return {}


def _steps(file: Path, damaged: list[str]) -> dict[str, float]:
    """Return the last record of metrics.jsonl, with a value from an earlier one where it lacks it."""
    last: dict[str, float] = {}
    bad = 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            last.update(_numbers(dict(json.loads(line))))
        except (ValueError, TypeError):
            bad += 1
    if bad:
        damaged.append(f"{file.name} has {bad} damaged line(s)")
    return last if "step" in last else {}


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping) or (prefix and not node):
        return {prefix: node}
    nested = [_flatten(child, f"{prefix}.{key}" if prefix else str(key)) for key, child in node.items()]
    return {key: value for child in nested for key, value in child.items() if key != "defaults"}
