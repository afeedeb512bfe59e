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
    """One-way random effects: score = mean + network + repeat (Shrout and Fleiss, Psychological Bulletin 1979).

    Attributes:
        single: ICC(1,1), the share of the variance of one training's score that is between networks.
        mean: ICC(1,k), that of the mean of k trainings; can be negative, where repeats differ more than networks.
        between, within: deviation of networks, and of repeats, in the unit of the scores.
    """

    single: float
    mean: float
    between: float
    within: float

    @property
    def tau_ceiling(self) -> float:
        """Kendall's tau that a perfect prediction of networks would have with the means of k trainings.

        2/pi asin(r) for normal scores whose correlation r with the truth is the root of the reliability.
        """
        return 2 / math.pi * math.asin(math.sqrt(min(1.0, max(0.0, self.mean))))


def reliability(scores: ArrayLike) -> Reliability:
    """Return the reliability of ``scores`` [n, k].

    Raises:
        ValueError: there are not two networks and two trainings of each, or all scores are equal.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"scores are {list(table.shape)}; two networks with two trainings each are the least")
    repeats = table.shape[1]
    between = repeats * float(table.mean(axis=1).var(ddof=1))  # mean squares
    within = float(table.var(axis=1, ddof=1).mean())
    if between + within == 0:
        raise ValueError("all scores are equal")
    return Reliability(
        single=(between - within) / (between + (repeats - 1) * within),
        mean=(between - within) / between if between else -math.inf,
        between=math.sqrt(max(0.0, between - within) / repeats),
        within=math.sqrt(within),
    )
