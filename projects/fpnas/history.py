"""The record of a search so far: history.csv, metrics.jsonl, and the passes over images that it took."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.engine.log import METRICS
from fbnetv5.projects.fpnas.bound import OVER_BOUND, BoundedSpace, Choices, swap
from fbnetv5.projects.fpnas.jobs import Job, Result, Shared

HISTORY = "history.csv"


@dataclass(frozen=True)
class Row:
    """One network of an iteration, as history.csv has it.

    Attributes:
        iteration: from 1.
        stage: ``shared`` or ``independent``; ``over bound`` was not trained.
        block: position of the block that differs, from 1; empty where the whole network does.
        block_type: its type.
        epochs: that it was trained for; in stage one, together with all types of the block.
        macs: of the network.
        accuracy: on the validation images, in [0, 1].
        reward: of eq. 2.
        chosen: whether the iteration ended with this network.
        network: the type of every block, as numbers.
    """

    iteration: int
    stage: str
    block: int | None
    block_type: str
    epochs: int
    macs: int
    accuracy: float | None
    reward: float
    chosen: bool
    network: str


class History:
    """Collects the results of jobs and writes them to the folder of a run.

    It is made anew from the jobs' results whenever a search is resumed.

    Args:
        folder: of the run.
        space: that is searched.
        type_names: of the types at each position.
        budget_epochs: passes over the training images that the search takes.
    """

    def __init__(
        self, folder: Path, space: BoundedSpace, type_names: Sequence[Sequence[str]], budget_epochs: int
    ) -> None:
        self.folder, self.space, self.type_names, self.budget_epochs = folder, space, type_names, budget_epochs
        self.rows: list[Row] = []
        self.epochs = self.num_images = self.num_val_images = 0
        self.seconds = 0.0
        self._records: list[dict[str, float]] = []
        self._losses: dict[Choices, float] = {}  # the latest of each network

    def add(self, results: Iterable[tuple[Job, Result]]) -> None:
        """Take in what came out of jobs."""
        for job, result in results:
            self.epochs += job.epochs
            self.num_images += result.num_images
            self.num_val_images += result.num_val_images
            self.seconds += result.seconds
            if isinstance(job, Shared):
                trained = dict(zip(job.types, result.accuracies, strict=True))
                for kind in range(self.space.num_types[job.position]):
                    self._row(job, "shared", job.position, swap(job.choices, job.position, kind), trained.get(kind))
            else:
                self._losses[job.choices] = result.losses[-1]
                self._row(job, "independent", job.position, job.choices, result.accuracies[0])

    def decide(self, iteration: int, position: int | None, choices: Choices, accuracy: float) -> None:
        """Record the network that an iteration ends with, and bring the files up to date."""
        network = _text(choices)
        for index, row in enumerate(self.rows):
            if row.iteration == iteration + 1 and row.stage == "independent" and row.network == network:
                self.rows[index] = replace(row, chosen=True)
        self._records.append(
            {
                "step": self.epochs,
                "loss": self._losses[choices],
                "val/top1": accuracy,
                "macs": self.space.macs(choices),
                "elapsed_seconds": self.seconds,
            }
        )
        write_text(self.folder / METRICS, "".join(json.dumps(record) + "\n" for record in self._records))
        header = [field.name for field in fields(Row)]
        table = [header, *([_cell(value) for value in astuple(row)] for row in self.rows)]
        write_text(self.folder / HISTORY, "".join(csv_lines(table)))

    def block_name(self, position: int, choices: Choices) -> str:
        """Return the name of a network's type at a position."""
        return self.type_names[position][choices[position]]

    def _row(self, job: Job, stage: str, position: int | None, choices: Choices, accuracy: float | None) -> None:
        over = accuracy is None
        self.rows.append(
            Row(
                iteration=job.iteration + 1,
                stage="over bound" if over else stage,
                block=None if position is None else position + 1,
                block_type="" if position is None else self.block_name(position, choices),
                epochs=0 if over else job.epochs,
                macs=self.space.macs(choices),
                accuracy=accuracy,
                reward=OVER_BOUND if accuracy is None else self.space.reward(choices, accuracy),
                chosen=False,
                network=_text(choices),
            )
        )


def _text(choices: Choices) -> str:
    return " ".join(map(str, choices))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
