"""One-sided tests of studies, and what they can see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fbnetv5.runs.markdown import chance
from fbnetv5.runs.statistics import LEVEL, POWER, detectable, p_above


def test_p_needs_two_values_that_differ():
    near = [-0.1, 0.0, 0.1]
    assert [p_above([1.0], near), p_above(near, [0.0]), p_above([1.0, 1.0], [1.0, 1.0])] == [None] * 3
    above, below = p_above([1.0, 1.1, 0.9], near), p_above([-1.0, -1.1, -0.9], near)
    assert above is not None
    assert below is not None
    assert above < 0.01 < 0.9 < below
    assert [chance(None), chance(0.0123), chance(1e-6)] == ["-", "0.012", "< 0.001"]


@pytest.mark.parametrize("counts", [(3, 18), (3, 3), (20, 20)])
def test_a_detectable_difference_is_seen_as_often_as_the_power_says(counts):
    draws = np.random.default_rng(0)
    shift = detectable(*counts)
    shifted, others = (draws.normal(mean, 1, (20_000, n)) for mean, n in zip((shift, 0), counts, strict=True))
    seen = (ttest_ind(shifted, others, axis=1, alternative="greater").pvalue < LEVEL).mean()
    assert seen == pytest.approx(POWER, abs=0.015)
