"""One-sided tests of studies, and what they can see."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize(("counts", "ratio"), [((3, 18), 1.0), ((3, 18), 0.5), ((20, 20), 1.0)])
def test_a_detectable_difference_is_seen_as_often_as_the_power_says(counts, ratio):
    draws = np.random.default_rng(1)
    values = detectable(*counts, ratio) + ratio * draws.standard_normal((2000, counts[0]))
    others = draws.standard_normal((2000, counts[1]))
    seen = [p_above(*pair) < LEVEL for pair in zip(values, others, strict=True)]
    assert np.mean(seen) == pytest.approx(POWER, abs=0.03)


def test_of_many_values_it_is_the_textbooks():
    assert detectable(21, 21) == pytest.approx(0.78, abs=0.03)  # one-sided, by the noncentral t
