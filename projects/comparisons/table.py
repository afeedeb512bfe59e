"""The rows of a comparison, and their table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.runs.markdown import difference, markdown_table, spread
from fbnetv5.runs.statistics import CONFIDENCE

COLUMNS = ("training", "seed", "metric", "value", "seconds")


@dataclass(frozen=True)
class Row:
    """One metric of one training, in 0..1, and the seconds that its steps took."""

    training: str
    seed: int
    metric: str
    value: float
    seconds: float

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells it from other rows."""
        return self.training, self.seed, self.metric


def parse(file: Path, entries: Sequence[Mapping[str, str]]) -> list[Row]:
    """Return rows from text, as :func:`line` writes them. Raises InputError where ``file`` holds something else."""
    try:
        return [
            Row(one["training"], int(one["seed"]), one["metric"], float(one["value"]), float(one["seconds"]))
            for one in entries
        ]
    except ValueError as error:
        raise InputError(f"{file} is no table of trainings: {error}") from error


def line(row: Row) -> tuple[str, ...]:
    """Return a row as text."""
    return row.training, str(row.seed), row.metric, f"{row.value:.5f}", f"{row.seconds:.1f}"


def markdown(
    name: str,
    rows: Sequence[Row],
    columns: Sequence[str],
    against: Mapping[str, Mapping[str, str]],
    failed: Mapping[str, str],
) -> str:
    """Return the whole page.

    Args:
        name: of the comparison.
        rows: of all trainings that have ended.
        columns: of the table.
        against: all trainings in their order, and by column which other one each is compared with.
        failed: why trainings failed, by name.
    """
    values = {name: {column: _by_seed(rows, name, column) for column in columns} for name in against}
    table = [["Training", *columns, "Minutes", "Seeds"]]
    for training, own in values.items():
        minutes = [row.seconds / 60 for row in {row.seed: row for row in rows if row.training == training}.values()]
        cells = [spread([100 * value for value in found.values()]) for found in own.values()]
        table.append([training, *cells, spread(minutes), str(len(minutes))])
    lines = [
        f"# {name}",
        "",
        "In %, mean and standard deviation over seeds.",
        "",
        *markdown_table(table, numeric_from=1),
    ]
    if any(against.values()):
        lines += ["", *_differences(values, columns, against)]
    if failed:
        lines += ["", "Failed:", "", *(f"- {training}: {error}" for training, error in failed.items())]
    return "\n".join(lines) + "\n"


def _differences(
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    columns: Sequence[str],
    against: Mapping[str, Mapping[str, str]],
) -> list[str]:
    table = [["Training", "against", *columns]]
    for training, others in against.items():
        cells = []
        for column in columns:
            own, other = values[training][column], values.get(others.get(column, ""), {}).get(column, {})
            cells.append(difference([100 * (own[seed] - other[seed]) for seed in own if seed in other]))
        if others:
            table.append([training, ", ".join(dict.fromkeys(others.values())), *cells])
    return [
        f"Differences in points, seed by seed: mean, and {100 * CONFIDENCE:.0f} % interval of the mean.",
        "",
        *markdown_table(table, numeric_from=2),
    ]


def _by_seed(rows: Sequence[Row], training: str, column: str) -> dict[int, float]:
    return {row.seed: row.value for row in rows if (row.training, row.metric) == (training, column)}
