"""What supernets say of topologies as a file, and the table of how well they rank them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.runs.kept_table import Settings, read_table, write_table
from fbnetv5.runs.markdown import markdown_table, spread

COLUMNS = ("variant", "seed", "task", "topology", "score", "regression")
NAMES = {"score": "score", "regression": "last look"}


@dataclass(frozen=True)
class Said:
    """What the supernet of a variant and a seed says of a task's topology; lower is better.

    Attributes:
        score: the supernet's, on images that the search held out.
        regression: that its last look predicts; None where it took none.
    """

    variant: str
    seed: int
    task: str
    topology: str
    score: float
    regression: float | None

    @property
    def supernet(self) -> tuple[str, int]:
        """Which one says it."""
        return self.variant, self.seed

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What tells it from other rows."""
        return self.variant, self.seed, self.task, self.topology


def read_said(file: Path, settings: Settings) -> list[Said]:
    """Return the rows of the file; none where there is no file.

    Args:
        file: csv.
        settings: of the searches, by variant.

    Raises:
        InputError: the file is no such table, or a variant's search had other settings.
    """
    try:
        return [_said(entry) for entry in read_table(file, COLUMNS, settings)]
    except ValueError as error:
        raise InputError(f"{file} is no table of supernets: {error}") from error


def write_said(file: Path, rows: Sequence[Said], settings: Settings) -> None:
    """Write the file, and beside it what the searches were made with.

    Raises:
        InputError: a file cannot be written.
    """
    lines = [
        (
            row.variant,
            str(row.seed),
            row.task,
            row.topology,
            f"{row.score:.6g}",
            "" if row.regression is None else f"{row.regression:.6g}",
        )
        for row in rows
    ]
    write_table(file, COLUMNS, lines, settings)


def markdown(name: str, results: Mapping[str, Any]) -> str:
    """Return the page: Kendall's tau of every variant, over its supernets, and of two judges of a kind."""
    taus = results["taus"]
    tasks = list(dict.fromkeys(row["task"] for row in taus))
    rows = [["Variant", "Predicted by", "Part", *tasks, "Supernets"]]
    for variant in dict.fromkeys(row["variant"] for row in taus):
        own = [row for row in taus if row["variant"] == variant]
        for predictor in results["predictors"]:
            for part in ("first", "others"):
                cells = [_cell([row for row in own if row["task"] == task], f"{predictor}_{part}") for task in tasks]
                rows.append([variant, NAMES[predictor], part, *cells, str(len({row["seed"] for row in own}))])
    between = [["Between two", *tasks]]
    for judges, found in results["between"].items():
        if any(found.values()):
            between.append([judges, *(spread(found[task], digits=2) for task in tasks)])
    failed = [f"- {job}: {error}" for job, error in results["failed"].items()]
    lines = [
        f"# {name}",
        "",
        "Kendall's tau of what a supernet says with what trained networks reach, over topologies of equal MACs: the "
        "first ones of the table of truth, by which choices are made, and the others; in brackets how many topologies.",
        "",
        *markdown_table(rows, numeric_from=3),
        "",
        "The same of two judges of one kind: trainings of the same topologies with different seeds, and the scores of "
        "supernets of one variant.",
        "",
        *markdown_table(between, numeric_from=1),
        *(["", "Failed:", *failed] if failed else []),
    ]
    return "\n".join(lines) + "\n"


def _said(entry: Mapping[str, str]) -> Said:
    return Said(
        entry["variant"],
        int(entry["seed"]),
        entry["task"],
        entry["topology"],
        float(entry["score"]),
        float(entry["regression"]) if entry["regression"] else None,
    )


def _cell(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the taus called ``name`` of one task's supernets, and over how many topologies they are."""
    taus = [row[name] for row in rows if row[name] is not None]
    numbers = sorted({row[f"{name}_number"] for row in rows if row[name] is not None})
    return spread(taus, digits=2) + (f" ({'-'.join(map(str, numbers))})" if numbers else "")
