"""Predicting whole networks from few that were measured."""

from __future__ import annotations

import numpy as np
import pytest

from fbnetv5.latency.predictor import fit_predictor

RNG = np.random.default_rng(0)
PARTS = RNG.integers(0, 2, (400, 30)).astype(float)
TIMES = RNG.uniform(0.2, 2, 30)
SUMS = PARTS @ TIMES
COUNTS = PARTS.sum(axis=1)


def error(predicted: np.ndarray, ms: np.ndarray) -> float:
    return float(np.median(np.abs(predicted / ms - 1)))


def test_an_affine_law_is_found():
    groups = {"sum": SUMS[:, None], "count": COUNTS[:, None]}
    ms = 3 + 0.8 * SUMS + 0.1 * COUNTS
    few = {name: values[:40] for name, values in groups.items()}
    for scale in (None, ms[:40]):
        predictor = fit_predictor(few, ms[:40], expected=SUMS[:40], scale=scale)
        assert predictor.predict(groups, expected=SUMS) == pytest.approx(ms, rel=0.02)
        assert predictor.constant == pytest.approx(3, abs=0.7)
        assert 1 + predictor.weights["sum"][0] == pytest.approx(0.8, abs=0.1)


def test_options_correct_what_totals_say_where_they_need_it():
    ms = SUMS + 4 * PARTS[:, 3] - 4 * PARTS[:, 7]
    groups = {"sum": SUMS[:, None], "parts": PARTS}
    few = {name: values[:25] for name, values in groups.items()}  # of 30 parts
    both = fit_predictor(few, ms[:25]).predict(groups)
    alone = fit_predictor({"sum": few["sum"]}, ms[:25]).predict(groups)
    assert error(both[25:], ms[25:]) < 0.7 * error(alone[25:], ms[25:])


def test_what_says_nothing_counts_for_nothing():
    noise = RNG.normal(size=(400, 50))
    groups = {"sum": SUMS[:, None], "noise": noise, "same": np.ones((400, 2))}
    predictor = fit_predictor({name: values[:40] for name, values in groups.items()}, SUMS[:40])
    assert error(predictor.predict(groups), SUMS) < 0.01
    assert not predictor.weights["same"].any()


def test_a_disturbed_measurement_counts_less():
    ms = SUMS * 1.0
    ms[[2, 9]] *= 5
    predictor = fit_predictor({"sum": SUMS[:40, None]}, ms[:40])
    assert error(predictor.predict({"sum": SUMS[:, None]}), SUMS) < 0.02
