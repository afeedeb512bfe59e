"""How far scores can be trusted: the intraclass correlation of repeated trainings, and the rank correlation it allows.

Shapes: n networks, k trainings of each, which differ in their seed alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Reliability:
    """How much of the scores' variance is the networks' (Shrout and Fleiss, Psychological Bulletin 1979).

    A seed shifts the scores of all networks alike, as it draws the first values that they share. By one-way random
    effects, score = mean + network + repeat, that counts as noise; by two-way effects, score = mean + network + seed +
    rest, it does not, and cancels where networks are compared by the same seeds.

    Attributes:
        single: ICC(1,1), the share of the variance of one training's score that is between networks.
        mean: ICC(1,k), that of the mean of k trainings; negative where repeats differ more than networks, None where
            the means of all networks are equal.
        same_seed: ICC(3,1), the share for one training by a seed that all networks are trained with.
        same_seeds: ICC(3,k), that of the mean of k trainings by the same seeds; None as above.
        between, within: deviation of networks, and of repeats, in the unit of the scores.
    """

    single: float
    mean: float | None
    same_seed: float
    same_seeds: float | None
    between: float
    within: float

    @property
    def tau_ceiling(self) -> float:
        """Kendall's tau that a perfect prediction would have with the means of k trainings, by the same seeds.

        2/pi asin(r) for normal scores whose correlation r with the truth is the root of the reliability.
        """
        return 2 / math.pi * math.asin(math.sqrt(min(1.0, max(0.0, self.same_seeds or 0.0))))


def reliability(scores: ArrayLike) -> Reliability | None:
    """Return the reliability of ``scores`` [n, k], a column a seed; None where all are equal.

    Raises:
        ValueError: there are not two networks and two trainings of each.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"scores are {list(table.shape)}; two networks with two trainings each are the least")
    repeats = table.shape[1]
    between = repeats * float(table.mean(axis=1).var(ddof=1))  # mean squares
    within = float(table.var(axis=1, ddof=1).mean())
    if between + within == 0:
        return None
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    error = float((rest**2).sum()) / ((len(table) - 1) * (repeats - 1))
    return Reliability(
        single=(between - within) / (between + (repeats - 1) * within),
        mean=(between - within) / between if between else None,
        same_seed=(between - error) / (between + (repeats - 1) * error) if between + error else 1.0,
        same_seeds=(between - error) / between if between else None,
        between=math.sqrt(max(0.0, between - within) / repeats),
        within=math.sqrt(within),
    )
