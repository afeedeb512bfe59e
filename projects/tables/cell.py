"""One cell of a study: a seed at a level of noise, by every method; its regrets lie in a file, so that it is run once.

A row has the setting: ``together`` with all tasks at once, or the one task that was searched for.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.projects.tables.landscape import Evaluations, Landscape
from fbnetv5.projects.tables.macro import macro_landscape
from fbnetv5.projects.tables.methods import METHODS
from fbnetv5.projects.tables.mr import mr_landscape

TOGETHER = "together"
LANDSCAPE = "landscape"  # the column of its digest
LANDSCAPES = {"macro": macro_landscape, "mr": mr_landscape}
ALONE = {"macro": ("top1",), "mr": ("cls-50-1000", "cls-10-1000", "seg")}
"""Tasks of a space that are also searched for alone: in macro one, since the others are that one at a price."""


@dataclass(frozen=True)
class Cell:
    """What is run.

    Attributes:
        space: a key of :data:`LANDSCAPES`.
        noise: over the deviation over architectures.
        seed: of methods and noise.
        methods: keys of ``METHODS``.
        evaluations: after which a method must answer.
        file: that its rows lie in.
    """

    space: str
    noise: float
    seed: int
    methods: tuple[str, ...]
    evaluations: tuple[int, ...]
    file: Path


class Row(NamedTuple):
    """The regret of what a method derives for a task, in points."""

    setting: str
    method: str
    evaluations: int
    task: str
    regret: float


def settings(space: str) -> tuple[str, ...]:
    """Return the settings of a space."""
    return (*ALONE[space], TOGETHER)


def expected(cell: Cell) -> set[tuple[str, str, int]]:
    """Return setting, method and evaluations of all that a cell measures; a search a task needs several tasks."""
    return {
        (setting, method, count)
        for setting in settings(cell.space)
        for method in cell.methods
        for count in cell.evaluations
        if not (method == "a-task" and setting != TOGETHER)
    }


def is_done(cell: Cell) -> bool:
    """Whether the file of a cell holds all that it measures, on the landscape that there is now."""
    return expected(cell) <= {row[:3] for row in _own_rows(cell)}


def run_cell(cell: Cell) -> None:
    """Measure what the file of a cell does not hold yet, and write it.

    Of a method that lacks one, all numbers of evaluations are measured, as they draw their noise in turn.
    """
    torch.set_num_threads(1)
    before = _own_rows(cell)
    missing = {key[:2] for key in expected(cell) - {row[:3] for row in before}}
    rows = [row for row in before if row[:2] not in missing]
    whole = _landscape(cell.space)
    for setting in settings(cell.space):
        landscape = whole if setting == TOGETHER else whole.only(whole.tasks.index(setting))
        for method in cell.methods:
            if (setting, method) in missing:
                wanted = {*cell.evaluations, *(row.evaluations for row in before if row[:2] == (setting, method))}
                rows += _measure(landscape, setting, method, sorted(wanted), cell)
    name = whole.digest
    lines = [[row.setting, row.method, str(row.evaluations), row.task, f"{row.regret:.4f}", name] for row in rows]
    write_text(cell.file, "".join(csv_lines([(*Row._fields, LANDSCAPE), *lines])))


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a cell's file; none where there is no file."""
    if not file.exists():
        return
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Row(row["setting"], row["method"], int(row["evaluations"]), row["task"], float(row["regret"]))


def _own_rows(cell: Cell) -> list[Row]:
    """Return the rows of a cell's file; none that were measured on another landscape, as of another surrogate."""
    if not cell.file.exists():
        return []
    with cell.file.open(encoding="utf-8", newline="") as lines:
        names = {row.get(LANDSCAPE) for row in csv.DictReader(lines)}
    return list(read_rows(cell.file)) if names == {_landscape(cell.space).digest} else []


def _measure(landscape: Landscape, setting: str, method: str, wanted: list[int], cell: Cell) -> Iterator[Row]:
    key = (cell.seed, list(METHODS).index(method), len(landscape.tasks), round(1000 * cell.noise))
    evaluate = Evaluations(landscape, cell.noise, key)
    found = METHODS[method](evaluate, wanted, cell.seed)
    for count, choices in zip(wanted, found, strict=True):
        for task, regret in zip(landscape.tasks, landscape.regret(choices), strict=True):
            yield Row(setting, method, count, task, float(regret))


@lru_cache
def _landscape(space: str) -> Landscape:
    return LANDSCAPES[space]()
