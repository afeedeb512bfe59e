"""A Gaussian process regression on NAS-Bench-MR, which says what an architecture that is not in the table scores.

Its kernel is a squared exponential with a length scale a column, plus a linear one: not additive over columns. The
scales are fitted by marginal likelihood and lie in ``surrogate.csv``; the weights are solved from the table.

Shapes: R networks, C = 27 columns.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.projects.tables.published import NUM_MR_COLUMNS, Array, read_table

TASKS = ("cls-50-1000", "cls-10-1000", "seg")
SCALES = Path(__file__).parent / "surrogate.csv"
LEFT_OUT, BATCH, STEPS, RATE, SEED = 500, 300, 150, 0.05, 0  # networks, networks a step, steps of Adam


@dataclass(frozen=True)
class Scales:
    """Hyperparameters of one task's kernel, for scores of mean 0 and deviation 1; all in logarithms.

    Attributes:
        lengths: one over the length scale of each column, [C].
        slopes: deviation of the slope of each column, [C].
        amplitude: variance of the squared exponential, [1].
        noise: variance of a score, [1].
    """

    lengths: Tensor
    slopes: Tensor
    amplitude: Tensor
    noise: Tensor

    def kernel(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the covariance of the scores of rows [N, C] and [R, C], [N, R]."""
        first, second = one * self.lengths.exp(), other * self.lengths.exp()
        distances = first.square().sum(1)[:, None] + second.square().sum(1) - 2 * first @ second.T
        linear = (one * self.slopes.exp().square()) @ other.T
        return self.amplitude.exp() * (-0.5 * distances.clamp(min=0)).exp() + linear

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the covariance of the table's noisy scores, [R, R]."""
        return self.kernel(rows, rows) + self.noise.exp() * torch.eye(len(rows), dtype=rows.dtype)


class Surrogate:
    """Predictions of one task's score from the columns that describe a network.

    Args:
        columns: of the table's networks, [R, C].
        scores: theirs, [R].
        scales: of the kernel, fitted to columns and scores that were standardised in the same way.
    """

    def __init__(self, columns: Array, scores: Array, scales: Scales) -> None:
        self.scales = scales
        self._mean, self._deviation = float(scores.mean()), float(scores.std())
        self._centre, self._width = np.log2(columns).mean(axis=0), np.log2(columns).std(axis=0)
        self._rows = self._standard(columns)
        target = torch.from_numpy((scores - self._mean) / self._deviation)
        factor = torch.linalg.cholesky(scales.of_rows(self._rows))
        self._weights = torch.cholesky_solve(target[:, None], factor)[:, 0]

    def __call__(self, columns: Array) -> Array:
        """Predict the scores [N] of networks [N, C]."""
        parts = [self.scales.kernel(part, self._rows) @ self._weights for part in self._standard(columns).split(2048)]
        return np.asarray(torch.cat(parts)) * self._deviation + self._mean

    def _standard(self, columns: Array) -> Tensor:
        return torch.from_numpy((np.log2(columns) - self._centre) / self._width)


def fit_scales(columns: Array, scores: Array) -> Scales:
    """Fit a kernel by the marginal likelihood of random parts of the table."""
    rows = torch.from_numpy((np.log2(columns) - np.log2(columns).mean(axis=0)) / np.log2(columns).std(axis=0))
    target = torch.from_numpy((scores - scores.mean()) / scores.std())
    starts = {
        "lengths": [-1.8] * NUM_MR_COLUMNS,
        "slopes": [-2.0] * NUM_MR_COLUMNS,
        "amplitude": [0.0],
        "noise": [-1.5],
    }
    values = {name: torch.tensor(start, dtype=torch.float64).requires_grad_() for name, start in starts.items()}
    scales, optimizer = Scales(**values), torch.optim.Adam(values.values(), lr=RATE)
    rng = np.random.default_rng(SEED)
    for _ in range(STEPS):
        part = torch.from_numpy(rng.choice(len(rows), BATCH, replace=False))
        factor = torch.linalg.cholesky(scales.of_rows(rows[part]))
        weights = torch.cholesky_solve(target[part, None], factor)[:, 0]
        loss = 0.5 * target[part] @ weights + factor.diagonal().log().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Scales(**{name: value.detach() for name, value in values.items()})


def held_out(task: str) -> tuple[float, float, Scales]:
    """Fit a task without some networks; return R2 and Spearman's rho on these, and the scales."""
    table = read_table("nas_bench_mr")
    columns, scores = table.values[:, :NUM_MR_COLUMNS], table.of(task)[:, 0]
    order = np.random.default_rng(SEED).permutation(len(scores))
    left_out, kept = order[:LEFT_OUT], order[LEFT_OUT:]
    scales = fit_scales(columns[kept], scores[kept])
    predicted, truth = Surrogate(columns[kept], scores[kept], scales)(columns[left_out]), scores[left_out]
    r2 = 1 - float(((predicted - truth) ** 2).mean() / truth.var())
    return r2, float(spearmanr(predicted, truth).statistic), scales


def write_scales(fitted: Mapping[str, Scales], file: Path = SCALES) -> None:
    """Write the scales of every task, a value a line."""
    rows = [["task", "name", "column", "log"]]
    for task, scales in fitted.items():
        for name, value in vars(scales).items():
            rows += [[task, name, str(number), f"{one:.6f}"] for number, one in enumerate(value.tolist())]
    write_text(file, "".join(csv_lines(rows)))


def read_scales(task: str, file: Path = SCALES) -> Scales:
    """Read the scales of a task."""
    found: dict[str, list[float]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["task"] == task:
                found.setdefault(row["name"], []).append(float(row["log"]))
    return Scales(**{name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()})
