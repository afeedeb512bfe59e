"""Mean regrets of a study with their intervals: as rows, as a csv file, as Markdown, and against what is aimed at."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.projects.tables.cell import TOGETHER, Row
from fbnetv5.runs.markdown import NOTHING, markdown_table
from fbnetv5.runs.statistics import interval

NAMES = {
    "last-look": "Alg. 4, last look",
    "probabilities": "Alg. 4, probabilities",
    "a-task": "Alg. 4, last look, a search a task",
    "ridge": "additive ridge",
    "evolution": "regularised evolution",
    "random": "random search",
}
MEAN = "mean"
NEAR, HALF = 0.05, 0.5  # points that the last look may be behind the ridge; share of random search's regret


class Mean(NamedTuple):
    """The mean regret over seeds, in points; ``task`` is :data:`MEAN` for the mean over tasks.

    ``interval`` is the half width of the mean's 95 % interval (Student's t).
    """

    setting: str
    task: str
    method: str
    noise: float
    evaluations: int
    seeds: int
    regret: float
    interval: float


def means(rows: Iterable[tuple[float, Sequence[Row]]]) -> list[Mean]:
    """Return the means over cells, each given as its noise and its rows."""
    regrets: dict[tuple[str, str, str, float, int], list[float]] = defaultdict(list)
    for noise, own in rows:
        together: dict[tuple[str, str, str, float, int], list[float]] = defaultdict(list)
        for row in own:
            regrets[row.setting, row.task, row.method, noise, row.evaluations].append(row.regret)
            if row.setting == TOGETHER:
                together[row.setting, MEAN, row.method, noise, row.evaluations].append(row.regret)
        for key, values in together.items():
            regrets[key].append(statistics.mean(values))
    return [Mean(*key, len(values), statistics.mean(values), _interval(values)) for key, values in regrets.items()]


def write_means(found: Iterable[Mean], file: Path) -> None:
    """Write means as csv."""
    lines = [
        [*one[:3], f"{one.noise:g}", str(one.evaluations), str(one.seeds), f"{one.regret:.3f}", f"{one.interval:.3f}"]
        for one in found
    ]
    write_text(file, "".join(csv_lines([Mean._fields, *lines])))


def read_means(file: Path) -> list[Mean]:
    """Read what :func:`write_means` wrote."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            Mean(
                row["setting"],
                row["task"],
                row["method"],
                float(row["noise"]),
                int(row["evaluations"]),
                int(row["seeds"]),
                float(row["regret"]),
                float(row["interval"]),
            )
            for row in csv.DictReader(lines)
        ]


def markdown(found: Sequence[Mean]) -> str:
    """Return a table for each setting, methods by noise and evaluations, and where what is aimed at is missed."""
    lines = []
    for setting in dict.fromkeys(one.setting for one in found):
        own = [one for one in found if one.setting == setting and one.task in (MEAN, setting)]
        seeds = sorted({one.seeds for one in own})
        title = "All tasks at once, mean of the tasks" if setting == TOGETHER else setting
        lines += [f"**{title}** ({' or '.join(map(str, seeds))} seeds)", ""]
        lines += [*_table(own), ""]
    missed = misses(found)
    lines += ["Missed:" if missed else "Nothing that is aimed at is missed.", *(f"- {line}" for line in missed)]
    return "\n".join(lines) + "\n"


def misses(found: Sequence[Mean]) -> list[str]:
    """Return where the last look has more than half of random search's regret, or is behind the ridge."""
    by_key = {(one.setting, one.task, one.noise, one.evaluations, one.method): one for one in found}
    lines = []
    for one in found:
        if one.method != "last-look" or one.noise < 0.5 or one.task not in (MEAN, one.setting):
            continue
        at = f"{one.setting}, noise {one.noise:g}, {one.evaluations:,} evaluations: {one.regret:.2f}"
        key = (one.setting, one.task, one.noise, one.evaluations)
        random, ridge = by_key.get((*key, "random")), by_key.get((*key, "ridge"))
        if random and one.regret > HALF * random.regret:
            lines.append(f"{at} is {one.regret / random.regret:.2f} of random search's {random.regret:.2f}")
        if ridge and one.evaluations >= 800 and one.regret > ridge.regret + NEAR:
            lines.append(f"{at} is above the ridge's {ridge.regret:.2f} by {one.regret - ridge.regret:.2f}")
    return lines


def _table(found: Sequence[Mean]) -> list[str]:
    columns = sorted({(one.noise, one.evaluations) for one in found})
    cells = {(one.method, one.noise, one.evaluations): f"{one.regret:.2f} ± {one.interval:.2f}" for one in found}
    head = ["Method", *(f"{noise:g}: {count:,}" for noise, count in columns)]
    present = {one.method for one in found}
    return markdown_table(
        [head, *([NAMES[m], *(cells.get((m, *column), NOTHING) for column in columns)] for m in NAMES if m in present)],
        numeric_from=1,
    )


def _interval(values: Sequence[float]) -> float:
    return math.nan if len(values) < 2 else interval(values)[1]
