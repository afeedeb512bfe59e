"""Read what runs have left in their folders into rows of one table; what is damaged is named, never a crash."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.config.identity import flatten
from fbnetv5.config.read import CONFIG
from fbnetv5.engine.loggers.logger import FOLDER as LOGGERS
from fbnetv5.export.sidecar import milliseconds_of
from fbnetv5.metrics.names import split_names
from fbnetv5.model.exports import EXPORTS, sidecars_in
from fbnetv5.report.run_folder import RunFolder, finite, read_folder
from fbnetv5.runs.record import RECORD, read_record

MS = "ms "  # begins the names of exported files' times, which ``fbnetv5 time`` measured
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

    What was evaluated, predicted or exported within a run's folder is no run of its own, unless a place names it; nor
    is what a logger wrote there, whose files may be called as ours.

    Raises:
        InputError: a place does not exist, or there are no runs.
    """
    runs: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: there is no such folder")
        found = {file.parent for name in (CONFIG, RECORD) for file in place.rglob(name)}
        found = {run for run in found if run == place or not _belongs_to(run, found)}
        runs += sorted(run for run in found if run not in runs)
    if not runs:
        raise InputError(f"no runs in {', '.join(map(str, places))}: none has a {CONFIG} or {RECORD}")
    return runs


def _belongs_to(run: Path, others: Collection[Path]) -> bool:
    """Whether a folder lies in another run's, of whose model it says something, or where a logger of that wrote it."""
    around = [parent for parent in run.parents if parent in others]
    is_logged = any(run.relative_to(parent).parts[0] == LOGGERS for parent in around)
    return is_logged or (bool(around) and read_folder(run).get("job") in ("evaluate", "export"))


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of one run: at least one, whatever state its files are in."""
    run, record = read_folder(folder), read_record(folder)
    config = {key: v for key, v in flatten(run.config).items() if key != "defaults" and not key.startswith(HOW_IT_RAN)}
    last: dict[str, float] = {}  # with a value from an earlier record where the last one lacks it
    for logged in run.records:
        last |= logged
    rows = [_searched(run, task, last) for task in run.infos]
    measured = bool(run.metrics or run.model)
    if measured or not rows:
        rows.append(_trained(run))
    ended = run.is_finished and not run.damaged
    done = ended or measured or (bool(run.infos) and run.is_finished)
    failed = record.get("status") == "failed" and not done
    status = "finished" if done else "failed" if failed else "unfinished"
    why = [str(record.get("error", ""))] if failed else [f"step {last['step']:.0f}"] if not done and last else []
    for row in rows:
        row.config, row.status, row.note = config, status, "; ".join([*why, *run.damaged])
    return rows


def differing(rows: Sequence[Row]) -> list[str]:
    """Return the configuration's keys that have more than one value among the runs that have one."""
    runs = {row.run: row.config for row in rows if row.config}
    keys = dict.fromkeys(key for config in runs.values() for key in config)
    return [key for key in keys if len({json.dumps(c.get(key), default=str) for c in runs.values()}) > 1]


def _searched(run: RunFolder, task: str, last: Mapping[str, float]) -> Row:
    info = run.infos[task]
    task = str(info.get("task", task))
    names = {"macs": "backbone_macs", "params": "backbone_params", "latency_ms": "backbone_latency_ms"}
    names |= {"blocks": "selected_blocks"}
    values = {name: info.get(key) for name, key in names.items()}
    return Row(run.path, task, values=finite({**values, "loss": last.get(f"loss/{task}")}))


def _trained(run: RunFolder) -> Row:
    named = split_names(run.metrics)
    overall = {name: value for name, value in run.metrics.items() if not named[name].of_class}
    head = str(run.model.get("head", "")).rsplit(".", 1)[-1]
    return Row(run.path, head, values=finite({**run.model, **overall, **_exported(run.path)}))


def _exported(run: Path) -> dict[str, float]:
    """Return what is known of the files that a run was exported to: their own metrics, and what they take.

    ``mIoU onnx int8`` is the metric of a file, ``ms onnx int8, a phone, 4 threads`` its milliseconds.
    """
    values = {}
    for file in sidecars_in(run / EXPORTS):
        timed, rated = milliseconds_of(file), read_json(file).get("metrics")
        name = f"{timed.runtime} {timed.precision}"
        if isinstance(rated, dict) and isinstance(rated.get("exported"), dict):
            values[f"{rated.get('main')} {name}"] = rated["exported"].get(rated.get("main"))
        values |= {f"{MS}{name}, {condition}": ms for condition, ms in timed.by_condition.items()}
    return values
