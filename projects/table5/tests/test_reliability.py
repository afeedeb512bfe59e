from __future__ import annotations

import numpy as np
import pytest

from fbnetv5.projects.table5.reliability import reliability

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]  # their table 2


def test_the_printed_example_is_met():
    found = reliability(SHROUT_FLEISS)
    assert (round(found.single, 2), round(found.mean, 2)) == (0.17, 0.44)  # their table 4
    assert (round(found.same_seed, 2), round(found.same_seeds, 2)) == (0.71, 0.91)


def test_variances_are_those_that_the_scores_were_drawn_with():
    rng = np.random.default_rng(0)
    scores = 50 + 2 * rng.standard_normal((20_000, 1)) + rng.standard_normal((20_000, 3))
    found = reliability(scores)
    assert found.between == pytest.approx(2, rel=0.02)
    assert found.within == pytest.approx(1, rel=0.02)
    assert found.single == pytest.approx(4 / 5, rel=0.01)
    assert found.mean == pytest.approx(4 / (4 + 1 / 3), rel=0.01)


def test_what_a_seed_shifts_alike_is_no_noise_where_networks_share_their_seeds():
    rng = np.random.default_rng(2)
    scores = 2 * rng.standard_normal((5000, 1)) + rng.standard_normal((5000, 3))
    shifted = reliability(scores + np.array([0, 5, -5]))
    assert shifted.same_seeds == pytest.approx(reliability(scores).same_seeds)
    assert shifted.same_seed == pytest.approx(4 / 5, abs=0.02)
    assert shifted.single < 0.2


def test_the_ceiling_is_the_tau_of_the_truth_with_the_means():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(2000)
    scores = truth[:, None] + 1.5 * rng.standard_normal((2000, 3))
    signs = np.sign(np.subtract.outer(truth, truth)) * np.sign(np.subtract.outer(scores.mean(1), scores.mean(1)))
    tau = signs.sum() / (2000 * 1999)
    assert reliability(scores).tau_ceiling == pytest.approx(tau, abs=0.03)


def test_scores_without_repeats_are_refused_and_equal_ones_and_noise_have_no_ceiling():
    with pytest.raises(ValueError, match="two networks"):
        reliability([[1.0], [2.0]])
    assert reliability([[1.0, 1.0], [1.0, 1.0]]) is None
    noise = reliability([[0.0, 1.0], [1.0, 0.0]])  # the means are equal
    assert (noise.single, noise.mean, noise.same_seeds, noise.between, noise.tau_ceiling) == (-1, None, None, 0, 0)
