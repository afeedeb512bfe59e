"""The table of truth as a file, and what it says of itself."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5.reliability import reliability
from fbnetv5.runs.kept_table import Settings, read_table, write_table
from fbnetv5.runs.markdown import NOTHING, markdown_table, spread

COLUMNS = ("task", "topology", "macs", "seed", "score")


@dataclass(frozen=True)
class Row:
    """The score of one training, in 0..1: of a task, a topology by name or number, its backbone's MACs, and a seed."""

    task: str
    topology: str
    macs: int
    seed: int
    score: float

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from other rows."""
        return self.task, self.topology, self.seed


def read_rows(file: Path, settings: Settings) -> list[Row]:
    """Return the rows of a table; none where there is no file.

    Args:
        file: csv.
        settings: of the trainings, by task.

    Raises:
        InputError: the file is no such table, or was made with other settings.
    """
    try:
        return [
            Row(entry["task"], entry["topology"], int(entry["macs"]), int(entry["seed"]), float(entry["score"]))
            for entry in read_table(file, COLUMNS, settings)
        ]
    except ValueError as error:
        raise InputError(f"{file} is no table of truth: {error}") from error


def write_rows(file: Path, rows: Sequence[Row], settings: Settings) -> None:
    """Write a table, and beside it what it was made with.

    Raises:
        InputError: a file cannot be written.
    """
    lines = [(row.task, row.topology, str(row.macs), str(row.seed), f"{row.score:.5f}") for row in rows]
    write_table(file, COLUMNS, lines, settings)


def report(
    rows: Sequence[Row], drawn: Mapping[str, Collection[str]], named: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Return tables in Markdown: how far scores can be trusted, and those of the hand-made topologies.

    Args:
        rows: of the table.
        drawn: names of the topologies of equal MACs that the table draws, by task.
        named: the hand-made ones.
        seeds: of the trainings.
    """
    tasks, k = list(dict.fromkeys(row.task for row in rows)), len(seeds)
    icc = ["ICC(1,1)", f"ICC(1,{k})", "ICC(3,1)", f"ICC(3,{k})"]
    first = [["Task", "Topologies", "Mean", "Least to most", "Between", "Repeats", *icc, "tau"]]
    for task in tasks:
        scores = complete(rows, task, seeds)
        first.append([task, *_trust([values for name, values in scores.items() if name in drawn.get(task, ())])])
    second = [["Task", *named]]
    for task in tasks:
        scores = complete(rows, task, seeds)
        second.append([task, *(spread([100 * value for value in scores.get(name, [])]) for name in named)])
    return [
        "Means of the topologies of equal MACs that have been trained with all seeds, in %; deviations between "
        "topologies and between repeats; reliability of one training and of the mean, where seeds differ, ICC(1), and "
        "where topologies share them, ICC(3); the tau of a perfect prediction, by shared seeds.",
        "",
        *markdown_table(first, numeric_from=1),
        "",
        *markdown_table(second, numeric_from=1),
    ]


def _trust(scores: Sequence[Sequence[float]]) -> list[str]:
    """Return a row on the scores of topologies, a seed each: how many, how good, and how far they can be trusted."""
    found = reliability(scores) if len(scores) > 1 and len(scores[0]) > 1 else None
    if found is None:
        return [str(len(scores)), *[NOTHING] * 9]
    means = [100 * statistics.mean(values) for values in scores]
    return [
        str(len(scores)),
        f"{statistics.mean(means):.1f}",
        f"{min(means):.1f} to {max(means):.1f}",
        f"{100 * found.between:.2f}",
        f"{100 * found.within:.2f}",
        f"{found.single:.2f}",
        _shown(found.mean),
        f"{found.same_seed:.2f}",
        _shown(found.same_seeds),
        f"{found.tau_ceiling:.2f}",
    ]


def _shown(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.2f}"


def complete(rows: Sequence[Row], task: str, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Return the scores, a seed each, of the topologies of a task that have been trained with all ``seeds``."""
    scores = {(row.topology, row.seed): row.score for row in rows if row.task == task}
    names = dict.fromkeys(name for name, _ in scores)
    return {
        name: [scores[name, seed] for seed in seeds] for name in names if all((name, seed) in scores for seed in seeds)
    }


@dataclass(frozen=True)
class Judged:
    """What the trainings of a topology say together: its score beside the mean seed, and how many there are."""

    score: float
    trainings: int


def training_deviation(rows: Sequence[Row], task: str) -> float | None:
    """Return how far a training deviates from score = topology + seed; None where no topology has two trainings."""
    own, found = [row for row in rows if row.task == task], judged(rows, task)
    left = [row.score - found[row.topology].score for row in own]
    seeds = {seed: statistics.mean(one for row, one in zip(own, left, strict=True) if row.seed == seed)
             for seed in {row.seed for row in own}}  # fmt: skip
    freedom = len(own) - len(found) - len(seeds) + 1
    squares = sum((one - seeds[row.seed]) ** 2 for row, one in zip(own, left, strict=True))
    return (squares / freedom) ** 0.5 if freedom > 0 else None


def judged(rows: Sequence[Row], task: str) -> dict[str, Judged]:
    """Return what each topology of a task reaches, by least squares of score = topology + seed over all trainings.

    A topology with all seeds has the mean of its scores; of another one, what its seeds give or take is accounted for.
    """
    own = [row for row in rows if row.task == task]
    if not own:
        return {}
    names, seeds = list(dict.fromkeys(row.topology for row in own)), sorted({row.seed for row in own})
    design = np.zeros((len(own) + 1, len(names) + len(seeds)))
    for place, row in enumerate(own):
        design[place, [names.index(row.topology), len(names) + seeds.index(row.seed)]] = 1
    design[-1, len(names) :] = 1  # the seeds' shares sum to 0
    fitted = np.linalg.lstsq(design, np.array([*(row.score for row in own), 0.0]), rcond=None)[0]
    counts = design[:-1, : len(names)].sum(axis=0)
    return {name: Judged(float(fitted[place]), int(counts[place])) for place, name in enumerate(names)}
