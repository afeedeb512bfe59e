"""The charts of a report, from the records of metrics.jsonl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fbnetv5.engine.log import UNTOLD
from fbnetv5.metrics.names import overall
from fbnetv5.report.line_chart import Chart, Points, line_chart
from fbnetv5.report.run_folder import RunFolder

VALIDATION = "val/"
RATES = {"lr": "learning rate", "arch_lr": "architecture rate", "seconds_per_step": "seconds a step"}
SKIPPED = "skipped"
NOT_DRAWN = ("step", "elapsed_seconds")
SETTLING = "Has it settled?"
MARK = "probabilities move"


@dataclass(frozen=True)
class Group:
    """Charts under one heading."""

    title: str
    note: str
    charts: Sequence[Chart]


def series(records: Sequence[Mapping[str, float]], key: str) -> Points:
    """Return (step, value) of the records that have ``key``; of a step that is there twice, the later one."""
    return sorted({record["step"]: record[key] for record in records if key in record}.items())


def keys(records: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the keys of all records, in the order in which they turn up."""
    return list(dict.fromkeys(key for record in records for key in record))


def chart_groups(run: RunFolder) -> list[Group]:
    """Return the groups of charts that the records give; those without data are left out."""
    found = keys(run.records)
    losses = [key for key in found if key.startswith("loss")]
    others = [key for key in found if key not in (*losses, *NOT_DRAWN) and not key.startswith(VALIDATION)]
    others = [key for key in others if key != SKIPPED or any(value for _, value in series(run.records, key))]
    last = "; the last point is the final evaluation" if run.metrics else ""
    every = run.get("runtime.log_every", 1)
    bits = "Mean entropy of a block in bits: 1 where everything is open, 0 where everything is decided"
    groups = [
        Group(SETTLING, f"{bits}.", _settling(run)),
        Group("Validation", f"In %, on the validation split{last}.", _validation(run)),
        Group("Losses", f"Each point is the mean over {every} steps.", _losses(run, losses)),
        Group("Rates and speed", "", [line_chart(_named(key), series(run.records, key), low=0) for key in others]),
    ]
    return [group for group in groups if group.charts]


def validations(run: RunFolder) -> dict[str, Points]:
    """Return the metrics over all classes, 0 to 1, over the steps of a training; the final ones come last."""
    records = [_stripped(record) for record in run.records if any(key.startswith(VALIDATION) for key in record)]
    if run.metrics and run.records:
        records.append({**run.metrics, "step": run.records[-1]["step"]})
    return {name: series(records, name) for name in overall(keys(records)) if name != "step"}


def _stripped(record: Mapping[str, float]) -> dict[str, float]:
    named = {key.removeprefix(VALIDATION): value for key, value in record.items() if key.startswith(VALIDATION)}
    return {**named, "step": record["step"]}


def _validation(run: RunFolder) -> list[Chart]:
    curves = validations(run)
    percent = {name: [(step, 100 * value) for step, value in points] for name, points in curves.items()}
    return [line_chart(name, points, unit=" %", low=0) for name, points in percent.items()]


def _losses(run: RunFolder, names: Sequence[str]) -> list[Chart]:
    mark = _start(run)
    return [line_chart(_named(name), series(run.records, name), mark=mark) for name in names]


def _settling(run: RunFolder) -> list[Chart]:
    mark, histories = _start(run), run.histories.values()
    return [line_chart(each.task, each.entropies, unit=" bit", low=0, high=1, mark=mark) for each in histories]


def _start(run: RunFolder) -> tuple[float, str] | None:
    """Where the warm-up of a search ends."""
    share, steps = run.get("search.arch_start"), run.get("search.steps")
    if run.get("job") != "search" or not isinstance(share, float) or not isinstance(steps, int):
        return None
    return float(round(share * steps)), MARK


def _named(key: str) -> str:
    """A metric's name for people: of ``loss/det`` det, of ``loss_box_reg`` box reg."""
    if key == "loss":
        return "total"
    if key.startswith(UNTOLD):
        return f"effective samples, {key.removeprefix(UNTOLD)}"
    return RATES.get(key) or re.sub(r"^loss[/_]", "", key).replace("_", " ")
