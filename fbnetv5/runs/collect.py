"""Runs gathered into one table, as CSV and as a page with the Pareto front of score against cost.

A search has a row for each task, with the topology's cost and the task's last loss; a training has one row, with its
metrics. Before these columns stand the config keys that differ between the runs.
"""

from __future__ import annotations

import csv
import glob
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fbnetv5.archs.topology import NAMED_BLOCKS
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import write_text
from fbnetv5.runs.gather import MS, Row, differing, find_runs, read_rows
from fbnetv5.runs.pareto import Series, draw_fronts, pareto_front

COSTS = ("macs", "params", "latency_ms")
NO_SCORE = (*COSTS, "blocks", "num_images", "seconds")
LOSSES = ("loss", "error")  # what names of scores begin with of which lower is better
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #e3e8ec } th { color: #5b6876 }
.number { text-align: right } td { vertical-align: top } td:first-child { white-space: nowrap }
tr.front { background: #eaf2fa; font-weight: 600 } tr.failed td { color: #a12622 }
tr.unfinished td { color: #5b6876 } svg { max-width: 100%; height: auto } p { color: #5b6876 }
"""


def collect_runs(
    places: Sequence[str], output: Path | None = None, *, x: str = "macs", y: str | None = None, task: str | None = None
) -> None:
    """Write collected.csv and collected.html of runs, and print where and how many.

    Args:
        places: folders of runs, or of sweeps, or globs of them.
        output: where the files go; the first of the folders if not given.
        x: the cost: one of ``COSTS``, or ``ms``, what exported files take, with more of the column's name where there
            are several.
        y: the score, any column; if not given, for each task or head the first metric of its trainings, where ``x`` is
            of exported files that of the file, and the loss of searches.
        task: only this task of searches, or head of trainings.

    Raises:
        InputError: there is no such cost, there are no runs, none has the task or the score, or a file cannot be
            written.
    """
    timed = x.split()[:1] == MS.split()
    if x not in COSTS and not timed:
        raise InputError(f"--x {x} is none of {', '.join((*COSTS, MS.strip()))}{nearest(x, COSTS)}")
    found = _expand(places)
    rows = [row for run in find_runs(found) for row in read_rows(run)]
    tasks = dict.fromkeys(row.task for row in rows if row.task)
    rows = [row for row in rows if task in (None, row.task) or not row.task]
    if task is not None and task not in tasks:
        raise InputError(f"--task {task}: no run has it; there are {', '.join(tasks)}{nearest(task, tasks)}")
    x = _timed_column(rows, x) if timed else x
    known = dict.fromkeys(name for row in rows for name in row.values)
    if y is not None and y not in known and known:
        raise InputError(f"--y {y}: no run has it; there are {', '.join(known)}{nearest(y, known)}")
    _collect(rows, output or found[0], x, scores_of(rows, x, y))


def _timed_column(rows: Sequence[Row], x: str) -> str:
    """Return the column of exported files' times whose name begins with ``x``. Raises InputError if it is not one."""
    names = sorted({name for row in rows for name in row.values if name.startswith(MS)})
    matches = [name for name in names if name == x] or [name for name in names if name.startswith(x)]
    if len(matches) != 1:
        known = f"there are: {'; '.join(names)}" if names else "fbnetv5 time RUNS measures exported files"
        raise InputError(f"--x '{x}' should begin the name of one column of times; {known}")
    return matches[0]


def _collect(rows: Sequence[Row], output: Path, x: str, y: Mapping[str, str]) -> None:
    """Write the table of ``rows`` and, of each task, the front of its score ``y`` against ``x`` to ``output``."""
    front = fronts(rows, x, y)
    header, cells = table(rows, front)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *cells])
    write_text(output / "collected.csv", buffer.getvalue())
    write_text(output / "collected.html", page(rows, header, cells, front, x, y))
    counts = {status: len({row.run for row in rows if row.status == status}) for status in _statuses(rows)}
    print(", ".join(f"{count} {status}" for status, count in counts.items()), "run(s)")
    for run, note in {row.run: row.note for row in rows if row.note}.items():
        print(f"  {run}: {note}")
    lacking = sum(not {x, y[row.task]} <= row.values.keys() for row in rows)
    shown_y = ", ".join(dict.fromkeys(y.values()))
    print(f"drawn: {shown_y} against {x}{f'; {lacking} of {len(rows)} rows lack one of them' if lacking else ''}")
    print(f"table: {output / 'collected.csv'}\npage:  {output / 'collected.html'}")


def scores_of(rows: Sequence[Row], x: str, y: str | None) -> dict[str, str]:
    """Return the column of each task's score: ``y``, or else the default; that of the file where ``x`` is its time."""
    chosen = {}
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        end = f" {x.removeprefix(MS).partition(',')[0]}"  # of the name of a file's metric
        names = dict.fromkeys(name for row in own for name in row.values if not name.startswith(MS))
        of_file = [name for name in names if y is None and x.startswith(MS) and name.endswith(end)]
        chosen[task] = of_file[0] if of_file else default_score(own) if y is None else y
    return chosen


def labels_of(rows: Sequence[Row]) -> list[str]:
    """Return what the runs of one picture are called: their folders' names, with those above where some are alike."""
    names = [row.run.name for row in rows]
    return names if len(set(names)) == len(names) else [f"{row.run.parent.name}/{row.run.name}" for row in rows]


def default_score(rows: Sequence[Row]) -> str:
    """Return the first value of a row that is a score: a training's metric, else a search's loss."""
    names = [name for row in rows for name in row.values if name not in NO_SCORE and not name.startswith(MS)]
    return next((name for name in names if not name.startswith(LOSSES)), "loss")


def is_lower_better(column: str) -> bool:
    """Whether less of a column is better, as of losses and of all that is a cost."""
    return column in (*COSTS, "blocks", "seconds") or column.startswith((*LOSSES, MS))


def fronts(rows: Sequence[Row], x: str, y: Mapping[str, str]) -> set[int]:
    """Return the indices of the rows on the Pareto front of their task, whose score is the column that ``y`` names."""
    chosen: set[int] = set()
    for task in dict.fromkeys(row.task for row in rows):
        sign = -1 if is_lower_better(y[task]) else 1
        members = [index for index, row in enumerate(rows) if row.task == task]
        scores = [rows[index].values.get(y[task]) for index in members]
        points = [
            (rows[index].values.get(x), None if score is None else sign * score)
            for index, score in zip(members, scores, strict=True)
        ]
        chosen |= {members[place] for place in pareto_front(points)}
    return chosen


def table(rows: Sequence[Row], front: set[int]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells: run, task, status, keys that differ, numbers, whether on the front, and the note."""
    keys = differing(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    header = ["run", "task", "status", *keys, *names, "front", "note"]
    cells = [
        [
            str(row.run),
            row.task,
            row.status,
            *(json.dumps(row.config[key], ensure_ascii=False).strip('"') if key in row.config else "" for key in keys),
            *(shown(row.values[name]) if name in row.values else "" for name in names),
            "yes" if index in front else "",
            row.note,
        ]
        for index, row in enumerate(rows)
    ]
    return header, cells


def shown(value: float) -> str:
    """Return a number as the table has it: whole ones in full."""
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"


def page(
    rows: Sequence[Row],
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    front: set[int],
    x: str,
    y: Mapping[str, str],
) -> str:
    """Return one HTML page, with the picture in it."""
    lines = []
    for index, (row, line) in enumerate(zip(rows, cells, strict=True)):
        numeric = [name in row.values for name in header[:-1]]  # the note comes below
        tags = [
            f"<td{' class=number' * n}>{html.escape(cell)}</td>" for n, cell in zip(numeric, line[:-1], strict=True)
        ]
        lines.append(f"<tr class='{row.status}{' front' * (index in front)}'>{''.join(tags)}</tr>")
    series = []
    for task in dict.fromkeys(row.task for row in rows):
        score = y[task]
        members = [i for i, row in enumerate(rows) if row.task == task and {x, score} <= row.values.keys()]
        points = [(rows[i].values[x], rows[i].values[score]) for i in members]
        marked = sorted((place for place, i in enumerate(members) if i in front), key=lambda place: points[place])
        if members:
            drawn = [place for place, i in enumerate(members) if is_drawn(rows[i])]
            series.append(Series(task, score, points, labels_of([rows[i] for i in members]), marked, drawn))
    named = ", ".join(dict.fromkeys(y.values()))
    picture = (
        draw_fronts(series, x) if series else f"<p>No run has both {html.escape(x)} and {html.escape(named)} yet.</p>"
    )
    numbers = {name for row in rows for name in row.values}
    heads = "".join(f"<th{' class=number' * (name in numbers)}>{html.escape(name)}</th>" for name in header[:-1])
    notes = {row.run: f"{row.status}: {row.note}" for row in rows if row.note}
    listed = "".join(f"<li>{html.escape(f'{run}: {note}')}</li>" for run, note in notes.items())
    better = {f"{score}: {'lower' if is_lower_better(score) else 'higher'}": None for score in y.values()}
    about = (
        f"Marked: the Pareto front, the runs that no other beats in {x} (lower is better) and the score of their task "
        f"({', '.join(better)} is better).{' Diamonds: topologies drawn by hand.' * any(map(is_drawn, rows))}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Runs</title><style>{STYLE}</style><h1>Runs</h1>"
        f"<p>{html.escape(about)}</p>{picture}<div class=wide><table><tr>{heads}</tr>"
        f"{''.join(lines)}</table></div><ul>{listed}</ul></html>\n"
    )


def is_drawn(row: Row) -> bool:
    """Whether a training's topology is one that people draw by hand."""
    return row.config.get("model.topology") in NAMED_BLOCKS


def _statuses(rows: Sequence[Row]) -> list[str]:
    return sorted({row.status for row in rows})


def _expand(places: Sequence[str]) -> list[Path]:
    """Return the folders that globs stand for, without files; what matches nothing is kept as it is."""
    found = []
    for place in places:
        matches = sorted(map(Path, glob.glob(place)))  # noqa: PTH207 - pathlib's takes no absolute patterns
        found += matches or [Path(place)]
    return [path for path in found if not path.is_file()]
