"""A study: all methods over seeds and levels of noise, a job a cell, those of the first seeds first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.files import write_text
from fbnetv5.projects.tables.cell import Cell, is_done, read_rows, run_cell
from fbnetv5.projects.tables.results import markdown, means, write_means
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Call, Job, Outcomes, finished
from fbnetv5.runs.study import Study

WRITE_EVERY = 20  # cells


class TableStudy(Study):
    """A study of one space.

    Args:
        space: ``macro`` or ``mr``.
        root: folder of the cells, the csv file and the table.
        seeds: how many, from 0.
        noises: over the deviation over architectures.
        methods: keys of ``METHODS``.
        evaluations: after which a method must answer.
    """

    results, table = "results.csv", "results.md"

    def __init__(
        self,
        space: str,
        root: Path,
        *,
        seeds: int,
        noises: Sequence[float],
        methods: Sequence[str],
        evaluations: Sequence[int],
    ) -> None:
        super().__init__(root)
        self.space = space
        self.cells = {
            f"noise-{noise:g}-seed-{seed}": Cell(
                space, noise, seed, tuple(methods), tuple(evaluations), root / "cells" / f"{noise:g}" / f"{seed}.csv"
            )
            for seed in range(seeds)
            for noise in noises
        }

    def describe(self) -> str:
        """Say how much there is to do."""
        return f"{self.space}: {len(self.cells)} cells, each a seed at a level of noise by every method"

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return a job for each cell."""
        return Known(
            [Job(name, Call(run_cell, cell, is_done), self.root / "logs") for name, cell in self.cells.items()]
        )

    def gather(self, outcomes: Outcomes) -> dict[str, Any]:
        """Return the means over the cells that are there."""
        done = finished(outcomes)
        cells = [cell for name, cell in self.cells.items() if name in done]
        wanted = [
            (
                cell.noise,
                [row for row in read_rows(cell.file) if row.method in cell.methods and row[2] in cell.evaluations],
            )
            for cell in cells
        ]
        return {"means": means(wanted)}

    def markdown(self, results: dict[str, Any]) -> str:
        """Return the tables."""
        return markdown(results["means"])

    def write(self, outcomes: Outcomes) -> None:
        """Write the means and the tables, now and then and at the end."""
        if len(outcomes) % WRITE_EVERY and len(outcomes) < len(self.cells):
            return
        results = self.gather(outcomes)
        write_means(results["means"], self.root / self.results)
        write_text(self.root / self.table, self.markdown(results))
