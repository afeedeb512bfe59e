"""What studies conclude from few values: intervals of paired differences, one-sided tests, and what these can see."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.optimize import brentq
from scipy.stats import nct, ttest_ind
from scipy.stats import t as student

CONFIDENCE = 0.95
LEVEL, POWER = 0.05, 0.8  # of one-sided tests


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


def detectable(count: int, num_others: int) -> float:
    """Return the difference of means, in deviations, that a one-sided t test sees with a power of ``POWER``.

    Args:
        count, num_others: values on either side, together at least 3, of one deviation; the test is at ``LEVEL``.
    """
    freedom = count + num_others - 2
    scale = math.sqrt(count * num_others / (count + num_others))
    limit = float(student.ppf(1 - LEVEL, freedom))
    return float(brentq(lambda shift: nct.sf(limit, freedom, shift * scale) - POWER, 0.0, 100.0 / scale))
