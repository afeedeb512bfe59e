"""What each option is worth: a ridge regression of scores on choices.

A score is taken for a sum over slots and, where leave-one-out says that they help, over pairs of slots. Both parts have
a penalty of their own, the pair that predicts left-out scores best among :data:`PENALTIES`; the penalty of pairs may be
infinite. With few scores this is far better than the best score that was seen, whose noise chose it.

Shapes: M scored architectures, B slots, O options of the slot that has most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PENALTIES = (
    (0.3, 1.0, 3.0, 10.0, 30.0, 100.0),  # of slots
    (3.0, 10.0, 30.0, 100.0, 300.0, math.inf),  # of pairs
)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """What a regression says of a space's options; a score is lower the better.

    Attributes:
        options: [B, O] what each option adds to the score, beside the mean of its slot's; 0 where there is none.
        pairs: [B, O, B, O] what two options of different slots add together, symmetric; 0 without pairs.
        num_options: of each slot.
        mean: of the scores, over all architectures.
        spread_errors: [B] standard errors of what lies between the dearest and the best option of each slot.
        left_out_error: root mean square of what is missed of a score that was left out.
    """

    options: Tensor
    pairs: Tensor
    num_options: tuple[int, ...]
    mean: float
    spread_errors: Tensor
    left_out_error: float

    def predict(self, choices: Tensor) -> Tensor:
        """Return the predicted scores [M] of choices int64 [M, B]."""
        slots = torch.arange(choices.shape[1])
        single = self.options[slots, choices].sum(dim=1)
        chosen = self.pairs[slots, choices]  # [M, B, B, O]
        paired = chosen.gather(3, choices[:, None, :, None].expand(*chosen.shape[:3], 1)).sum(dim=(1, 2, 3))
        return self.mean + single + 0.5 * paired

    def deviation(self) -> float:
        """Return the deviation of the predicted scores over all architectures, each equally likely."""
        singles = [row[:count].square().mean() for row, count in zip(self.options, self.num_options, strict=True)]
        pairs = [
            self.pairs[one, : self.num_options[one], two, : self.num_options[two]].square().mean()
            for one, two in itertools.combinations(range(len(self.num_options)), 2)
        ]
        return float(torch.stack(singles + pairs).sum().sqrt())

    def decided(self, num_errors: float = 2.0) -> Tensor:
        """Return for each slot whether its options differ by more than their errors, bool [B].

        A slot that is not decided is free: by these scores none of its options is better.
        """
        spread = self.options.amax(dim=1) - self.options.amin(dim=1)
        return spread > num_errors * self.spread_errors


def fit_worth(
    choices: Tensor, scores: Tensor, num_options: Sequence[int], penalties: Sequence[Sequence[float]] = PENALTIES
) -> Worth:
    """Fit scores [M] to choices int64 [M, B].

    Args:
        choices: of the architectures that were scored.
        scores: float64, finite.
        num_options: of each slot.
        penalties: to choose from, of slots and of pairs; a slot's is the number of scores that the prior is worth.

    Raises:
        ValueError: there are fewer than three scores.
    """
    if len(scores) < 3:
        raise ValueError(f"{len(scores)} scores say nothing of their noise: at least 3")
    features = _Features(num_options)
    design, target = features.of(choices.numpy()), scores.double().numpy()
    centre, mean = design.mean(axis=0), float(target.mean())
    design, target = design - centre, target - mean
    fits = [_ridge(design, target, features.penalty(*pair)) for pair in itertools.product(*penalties)]
    best = min(fits, key=lambda fit: fit.press)
    mean -= float(centre @ best.coefficients)
    options, pairs = features.split(best.coefficients)
    contrasts = [best.error_of(*features.extremes(best.coefficients, slot)) for slot in range(len(num_options))]
    return Worth(
        options, pairs, tuple(num_options), mean, torch.tensor(contrasts, dtype=torch.float64), math.sqrt(best.press)
    )


class _Features:
    """Columns of the regression: for each option of each slot, then for each two options of different slots."""

    def __init__(self, num_options: Sequence[int]) -> None:
        self.num_options = tuple(num_options)
        self.starts = np.concatenate([[0], np.cumsum(self.num_options)])
        self.num_single = int(self.starts[-1])
        self.blocks = list(itertools.combinations(range(len(self.num_options)), 2))

    def of(self, choices: npt.NDArray[np.int64]) -> Array:
        """Return the columns of choices [M, B]: options less the share of their slot's, and products of these."""
        single = np.zeros((len(choices), self.num_single))
        for slot, count in enumerate(self.num_options):
            single[:, self.starts[slot] : self.starts[slot + 1]] = np.eye(count)[choices[:, slot]] - 1 / count
        parts = [single]
        for one, two in self.blocks:
            left, right = single[:, self._columns(one)], single[:, self._columns(two)]
            parts.append((left[:, :, None] * right[:, None, :]).reshape(len(choices), -1))
        return np.concatenate(parts, axis=1)

    def penalty(self, of_slots: float, of_pairs: float) -> Array:
        """Return the penalty of each column."""
        num_pairs = sum(self.num_options[one] * self.num_options[two] for one, two in self.blocks)
        return np.concatenate([np.full(self.num_single, of_slots), np.full(num_pairs, of_pairs)])

    def table(self, values: Array) -> Tensor:
        """Return values of options as [B, O]."""
        filled = torch.zeros(len(self.num_options), max(self.num_options), dtype=torch.float64)
        for slot, count in enumerate(self.num_options):
            filled[slot, :count] = torch.from_numpy(values[self._columns(slot)])
        return filled

    def split(self, coefficients: Array) -> tuple[Tensor, Tensor]:
        """Return what options and pairs add to a score, each beside the mean of its slot's."""
        most, slots = max(self.num_options), len(self.num_options)
        options = self.table(self._centred(coefficients[: self.num_single]))
        pairs = torch.zeros(slots, most, slots, most, dtype=torch.float64)
        start = self.num_single
        for one, two in self.blocks:
            shape = (self.num_options[one], self.num_options[two])
            block = coefficients[start : start + shape[0] * shape[1]].reshape(shape)
            start += shape[0] * shape[1]
            block = block - block.mean(axis=0, keepdims=True)
            centred = torch.from_numpy(block - block.mean(axis=1, keepdims=True))
            pairs[one, : shape[0], two, : shape[1]] = centred
            pairs[two, : shape[1], one, : shape[0]] = centred.T
        return options, pairs

    def extremes(self, coefficients: Array, slot: int) -> tuple[int, int]:
        """Return the columns of the options of a slot that add most and least."""
        own = coefficients[self._columns(slot)]
        start = int(self.starts[slot])
        return start + int(own.argmax()), start + int(own.argmin())

    def _columns(self, slot: int) -> slice:
        return slice(int(self.starts[slot]), int(self.starts[slot + 1]))

    def _centred(self, values: Array) -> Array:
        centred = values.copy()
        for slot in range(len(self.num_options)):
            centred[self._columns(slot)] -= values[self._columns(slot)].mean()
        return centred


@dataclass(frozen=True)
class _Fit:
    """A ridge regression.

    Attributes:
        coefficients: [C], 0 where the penalty is infinite.
        press: mean square of left-out residuals.
        covariance: [C, C] of the posterior, whose prior is worth ``penalty`` scores: sigma^2 (X'X + penalty)^-1.
    """

    coefficients: Array
    press: float
    covariance: Array

    def error_of(self, one: int, other: int) -> float:
        """Return the standard error of the difference of two coefficients."""
        if one == other:
            return 0.0
        own = self.covariance
        return math.sqrt(max(own[one, one] + own[other, other] - 2 * own[one, other], 0.0))


def _ridge(design: Array, target: Array, penalty: Array) -> _Fit:
    """Fit centred targets to centred columns; the residual of a left-out row is e / (1 - h), h its leverage."""
    used = np.isfinite(penalty)
    scaled = design[:, used] / np.sqrt(penalty[used])
    left, singular, right = np.linalg.svd(scaled, full_matrices=False)
    shrunk = singular / (singular**2 + 1)
    fitted = (left * (singular * shrunk)) @ (left.T @ target)
    leverage = ((left**2) * (singular * shrunk)).sum(axis=1) + 1 / len(target)
    press = float((((target - fitted) / np.maximum(1 - leverage, 1e-9)) ** 2).mean())
    coefficients, covariance = np.zeros(len(penalty)), np.zeros((len(penalty), len(penalty)))
    scale = 1 / np.sqrt(penalty[used])
    coefficients[used] = scale * (right.T @ (shrunk * (left.T @ target)))
    inverse = np.eye(len(scale)) - (right.T * (singular * shrunk)) @ right  # of the scaled gram matrix and the prior
    covariance[np.ix_(used, used)] = press * inverse * np.outer(scale, scale)
    return _Fit(coefficients, press, covariance)
