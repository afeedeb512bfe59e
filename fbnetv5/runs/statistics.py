"""What studies conclude from few values: intervals of paired differences, one-sided tests, and what these can see."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student
from scipy.stats import ttest_ind

CONFIDENCE = 0.95
LEVEL, POWER = 0.05, 0.8  # of one-sided tests
SIMULATED = 20_000  # tests


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the mean of n >= 2 differences, and half the width of its confidence interval (Student's t)."""
    factor = float(student.ppf((1 + CONFIDENCE) / 2, len(differences) - 1))
    return statistics.mean(differences), factor * statistics.stdev(differences) / len(differences) ** 0.5


def p_above(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the one-sided p of Welch's t test that the mean of ``values`` is not above that of ``others``.

    None below two values of each, or where all ``values`` are equal.
    """
    if min(len(values), len(others)) < 2 or len({*values}) < 2:
        return None
    return float(ttest_ind(values, others, equal_var=False, alternative="greater").pvalue)


def detectable(count: int, num_others: int, ratio: float = 1.0) -> float:
    """Return the difference of means that :func:`p_above` finds below ``LEVEL`` with a probability of ``POWER``.

    By simulation, in deviations of the others: Welch's test has no closed form.

    Args:
        count, num_others: values on either side, at least 2.
        ratio: the deviation of the ``count`` values beside that of the others.
    """
    draws = np.random.default_rng(0)
    values = ratio * draws.standard_normal((SIMULATED, count))
    others = draws.standard_normal((SIMULATED, num_others))

    def lacks(shift: float) -> float:
        seen = ttest_ind(values + shift, others, axis=1, equal_var=False, alternative="greater").pvalue < LEVEL
        return float(seen.mean()) - POWER

    return float(brentq(lacks, 0.0, 50.0, xtol=0.005))
