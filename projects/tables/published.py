"""The published tables as they lie in ``data/``, each with its licence and where it comes from."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
DATA = Path(__file__).parent / "data"
NUM_MR_COLUMNS = 27  # of NAS-Bench-MR that describe a network


@dataclass(frozen=True)
class Table:
    """Numbers by column.

    Attributes:
        columns: their names.
        values: [rows, columns].
    """

    columns: tuple[str, ...]
    values: Array

    def of(self, *names: str) -> Array:
        """Return columns, [rows, names]."""
        return self.values[:, [self.columns.index(name) for name in names]]


def read_table(name: str) -> Table:
    """Read ``nas_bench_macro`` or ``nas_bench_mr``."""
    with gzip.open(DATA / name / "table.csv.gz", "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return Table(tuple(header), np.array(rows, dtype=np.float64))
