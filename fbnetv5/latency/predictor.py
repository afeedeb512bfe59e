"""Milliseconds of whole networks from few that were measured: a linear model whose weights have a prior.

Groups of features stand for what is known of a network: totals such as multiply-adds, the time of its parts, what other
devices take, one number for each option. Within a group, weights are as large as each other by expectation; how large
is fitted, by the evidence for it (type-II maximum likelihood). A group that explains nothing is left out, and a large
one of single options only corrects what the totals say. Networks that are far off count less, as a measurement that
something disturbed should. Shapes: N networks, F features of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

VARIANCES = (0.0, *(10.0 ** (power / 2) for power in range(-8, 7)))  # of a group's sum, in squared spreads of times
CONSTANT = 100.0  # the variance of what is the same for all networks
SWEEPS = 3  # over the groups, for the best variances
REWEIGHTINGS = 3
NO_NOISE = 1e-12  # squared spreads of times, below which all is explained
OUTLIER = 2.0  # robust deviations, from which a network counts less


@dataclass(frozen=True)
class LatencyPredictor:
    """A linear model: ``expected`` + ``constant`` + features times ``weights``.

    Attributes:
        constant: in milliseconds.
        weights: by group, a number for each feature, in milliseconds.
    """

    constant: float
    weights: Mapping[str, Array]

    def predict(self, groups: Mapping[str, Array], expected: Array | float = 0.0) -> Array:
        """Return the milliseconds [N] of networks with these features [N, F], as :func:`fit_predictor` takes them."""
        corrections = [groups[name] @ weights for name, weights in self.weights.items()]
        return np.asarray(expected + self.constant + np.sum(corrections, axis=0))


def fit_predictor(
    groups: Mapping[str, Array], ms: Array, expected: Array | None = None, scale: Array | None = None
) -> LatencyPredictor:
    """Fit a linear model to measured networks.

    Args:
        groups: features [N, F] by group.
        ms: milliseconds [N] of the networks.
        expected: of them, before anything is measured; the model is of what differs from it. None is 0.
        scale: what an error counts in [N]: ``ms`` for relative errors. None is 1.

    Returns:
        the mean of the weights by what was measured.
    """
    scale = np.ones_like(ms) if scale is None else scale
    target = (ms - (0.0 if expected is None else expected)) / scale
    unit = _spread(target - np.median(target)) or 1.0
    columns = {name: _Columns.of(values, scale) for name, values in groups.items()}
    features = [each.scaled for each in columns.values()]
    constant = (np.median(scale) / scale)[:, None]
    coefficients, first = _mean_weights(features, constant, target / unit)
    weights = {
        name: unit * found / each.deviations for (name, each), found in zip(columns.items(), coefficients, strict=True)
    }
    shift = sum(float(each.means @ weights[name]) for name, each in columns.items())
    return LatencyPredictor(unit * first * float(np.median(scale)) - shift, weights)


@dataclass(frozen=True)
class _Columns:
    """The features of a group, brought to one size.

    Attributes:
        means: [F] of the raw features, deviations: what the others were divided by.
        scaled: [N, F], the sum of whose columns' variances is 1.
    """

    means: Array
    deviations: Array
    scaled: Array

    @classmethod
    def of(cls, values: Array, scale: Array) -> _Columns:
        means = values.mean(axis=0)
        relative = (values - means) / scale[:, None]
        deviations = np.sqrt((relative**2).mean(axis=0) * values.shape[1])
        rounding = 1e-9 * np.abs(values / scale[:, None]).max(axis=0)
        deviations[deviations <= rounding] = np.inf  # a feature that does not vary says nothing
        return cls(means, deviations, relative / deviations)


def _mean_weights(features: Sequence[Array], constant: Array, target: Array) -> tuple[list[Array], float]:
    """Return the mean weights of each group and of the constant [N, 1], for targets [N] of about 1."""
    products = [values @ values.T for values in features]
    steady = CONSTANT * constant @ constant.T
    trust = np.ones_like(target)
    variances = [1.0] * len(products)
    for _ in range(1 + REWEIGHTINGS):
        variances = _best_variances(products, steady, target, trust, variances)
        covariance = _covariance(products, steady, trust, variances)
        inverse = np.linalg.inv(covariance)
        errors = inverse @ target / np.diag(inverse)  # of each network, left out
        limit = OUTLIER * (_spread(errors) or np.inf)
        trust = 1 / np.maximum(1.0, np.abs(errors) / limit) ** 2
    duals = np.linalg.solve(_covariance(products, steady, trust, variances), target)
    found = [variance * values.T @ duals for variance, values in zip(variances, features, strict=True)]
    return found, float(CONSTANT * constant[:, 0] @ duals)


def _best_variances(
    products: Sequence[Array], steady: Array, target: Array, trust: Array, variances: Sequence[float]
) -> list[float]:
    """Return the variances of the groups with the most evidence for them, found one group after the other."""
    found = list(variances)
    for _ in range(SWEEPS):
        before = list(found)
        for place in range(len(found)):
            others = _covariance(products, steady, trust, [*found[:place], 0.0, *found[place + 1 :]])
            evidence = [_evidence(others + variance * products[place], target) for variance in VARIANCES]
            found[place] = VARIANCES[int(np.argmax(evidence))]
        if found == before:
            break
    return found


def _covariance(products: Sequence[Array], steady: Array, trust: Array, variances: Sequence[float]) -> Array:
    """Return the covariance of the targets [N, N], in units of the noise's variance."""
    total = steady + np.diag(1 / trust)
    for variance, product in zip(variances, products, strict=True):
        total = total + variance * product
    return total


def _evidence(covariance: Array, target: Array) -> float:
    """Return the logarithm of how likely targets are, at the likeliest variance of the noise."""
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, target)
    return float(-len(target) / 2 * np.log(max(float(whitened @ whitened), NO_NOISE)) - np.log(np.diag(root)).sum())


def _spread(values: Array) -> float:
    """Return a deviation that outliers do not change, or the common one where more than half are the same."""
    return float(1.4826 * np.median(np.abs(values))) or float(values.std())
