"""What each option is worth: a ridge regression of scores on choices.

A score is taken for a sum over slots and, where leave-one-out is sure that they help, over pairs of slots. Both parts
have a penalty of their own, the pair that predicts left-out scores best among :data:`PENALTIES`; the penalty of pairs
may be infinite. With few scores this is far better than the best score that was seen, whose noise chose it.

Shapes: M scored architectures, B slots, O options of the slot that has most.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PENALTIES = (  # powers of the root of ten, so that few ratios of the two have to be decomposed
    tuple(10 ** (power / 2) for power in range(-1, 5)),  # of slots: 0.3 to 100
    (*(10 ** (power / 2) for power in range(1, 6)), math.inf),  # of pairs: 3 to 300
)
SURE = 2.0  # standard errors
ROUNDING = 1e-9  # of the mean score
MIN_SCORES = 3  # fewer say nothing of their noise
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """What a regression says of a space's options; a score is lower the better.

    Attributes:
        options: [B, O] what each option adds to the score, beside the mean of its slot's; 0 where there is none.
        pairs: [B, O, B, O] what two options of different slots add together, symmetric; 0 without pairs.
        num_options: of each slot.
        mean: of the scores, over all architectures.
        left_out_error: root mean square of what is missed of a score that was left out.
        fit: the regression itself.
    """

    options: Tensor
    pairs: Tensor
    num_options: tuple[int, ...]
    mean: float
    left_out_error: float
    fit: _Fit = field(repr=False)

    def predict(self, choices: Tensor) -> Tensor:
        """Return the predicted scores [M] of choices int64 [M, B]."""
        slots = torch.arange(choices.shape[1])
        single = self.options[slots, choices].sum(dim=1)
        chosen = self.pairs[slots, choices]  # [M, B, B, O]
        paired = chosen.gather(3, choices[:, None, :, None].expand(*chosen.shape[:3], 1)).sum(dim=(1, 2, 3))
        return self.mean + single + 0.5 * paired

    def errors(self, choices: Tensor, others: Tensor) -> Tensor:
        """Return standard errors [M] of how much the predicted scores of two rows of choices [M, B] differ."""
        features = _Features(self.num_options, pairs=self.fit.has_pairs)
        contrasts = features.of(others.numpy()) - features.of(choices.numpy())
        variances = np.einsum("mc,cd,md->m", contrasts, self.fit.covariance, contrasts, optimize=True)
        return torch.from_numpy(np.sqrt(variances.clip(min=0.0)))

    def deviation(self) -> float:
        """Return the deviation of the predicted scores over all architectures, each equally likely."""
        singles = [row[:count].square().mean() for row, count in zip(self.options, self.num_options, strict=True)]
        pairs = [
            self.pairs[one, : self.num_options[one], two, : self.num_options[two]].square().mean()
            for one, two in itertools.combinations(range(len(self.num_options)), 2)
        ]
        return float(torch.stack(singles + pairs).sum().sqrt())

    def scale(self) -> float:
        """Return the deviation that scores are counted in; 1 where they differ by no more than rounding."""
        deviation = self.deviation()
        return deviation if deviation > ROUNDING * abs(self.mean) else 1.0


def fit_worth(
    choices: Tensor, scores: Tensor, num_options: Sequence[int], penalties: Sequence[Sequence[float]] = PENALTIES
) -> Worth:
    """Fit scores [M] to choices int64 [M, B].

    Args:
        choices: of the architectures that were scored.
        scores: float64, finite.
        num_options: of each slot.
        penalties: to choose from, of slots and of pairs; a slot's, times its options, is the number of
            scores that its prior is worth; a pair's, times the options of both.

    Raises:
        ValueError: there are fewer than three scores.
    """
    if len(scores) < MIN_SCORES:
        raise ValueError(f"{len(scores)} scores say nothing of their noise: at least {MIN_SCORES}")
    features = _Features(num_options, pairs=any(math.isfinite(penalty) for penalty in penalties[1]))
    design, target = features.of(choices.numpy()), scores.double().numpy()
    centre, mean = design.mean(axis=0), float(target.mean())
    design, target = design - centre, target - mean
    best = _ridge(design, target, features.penalty(*_best_penalties(design, target, features, penalties)))
    mean -= float(centre @ best.coefficients)
    options, pairs = features.split(best.coefficients)
    return Worth(
        options, pairs, tuple(num_options), mean, math.sqrt(best.press), replace(best, has_pairs=bool(features.pairs))
    )


def _best_penalties(
    design: Array, target: Array, features: _Features, penalties: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """Return the penalties of slots and of pairs that predict left-out targets best.

    There are pairs only where they predict surely better: by more than :data:`SURE` standard errors. Penalties of the
    same ratio share a decomposition, which is what costs.
    """
    by_ratio: dict[float, list[tuple[float, float]]] = {}
    for of_slots, of_pairs in itertools.product(*penalties):
        by_ratio.setdefault(round(of_pairs / of_slots, 9), []).append((of_slots, of_pairs))
    found: list[tuple[tuple[float, float], Array]] = []  # with the squares of left-out residuals, [M]
    for same in by_ratio.values():
        decomposed = _Decomposed.of(design, features.penalty(*same[0]))
        missed = decomposed.missed(target, [of_slots / same[0][0] for of_slots, _ in same])
        found += list(zip(same, missed.T, strict=True))
    best = min(found, key=lambda one: float(one[1].mean()))
    plain = [one for one in found if math.isinf(one[0][1])]
    if plain and math.isfinite(best[0][1]):
        simpler = min(plain, key=lambda one: float(one[1].mean()))
        saved = simpler[1] - best[1]
        if saved.mean() <= SURE * saved.std() / math.sqrt(len(saved)):
            return simpler[0]
    return best[0]


class _Features:
    """Columns of the regression: orthonormal contrasts of each slot's options, then products of two slots' contrasts.

    O options have O - 1 contrasts. A ridge on them is that on O columns, an option less the share of its slot's each,
    and that on pairs alike.
    """

    def __init__(self, num_options: Sequence[int], pairs: bool) -> None:
        self.num_options = tuple(num_options)
        self.contrasts = [_contrasts(count) for count in self.num_options]
        self.starts = np.concatenate([[0], np.cumsum([count - 1 for count in self.num_options])])
        self.num_single = int(self.starts[-1])
        self.pairs = list(itertools.combinations(range(len(self.num_options)), 2)) if pairs else []

    def of(self, choices: npt.NDArray[np.int64]) -> Array:
        """Return the columns of choices [M, B]."""
        single = [contrasts[choices[:, slot]] for slot, contrasts in enumerate(self.contrasts)]
        paired = [
            (single[one][:, :, None] * single[two][:, None, :]).reshape(len(choices), -1) for one, two in self.pairs
        ]
        return np.concatenate([*single, *paired], axis=1)

    def penalty(self, of_slots: float, of_pairs: float) -> Array:
        """Return the penalty of each column."""
        num_pairs = sum((self.num_options[one] - 1) * (self.num_options[two] - 1) for one, two in self.pairs)
        return np.concatenate([np.full(self.num_single, of_slots), np.full(num_pairs, of_pairs)])

    def split(self, coefficients: Array) -> tuple[Tensor, Tensor]:
        """Return what options and pairs add to a score, each beside the mean of its slot's."""
        most, slots = max(self.num_options), len(self.num_options)
        options = torch.zeros(slots, most, dtype=torch.float64)
        for slot, contrasts in enumerate(self.contrasts):
            options[slot, : len(contrasts)] = torch.from_numpy(contrasts @ coefficients[self._columns(slot)])
        pairs = torch.zeros(slots, most, slots, most, dtype=torch.float64)
        start = self.num_single
        for one, two in self.pairs:
            first, second = self.contrasts[one], self.contrasts[two]
            size = first.shape[1] * second.shape[1]
            block = coefficients[start : start + size].reshape(first.shape[1], second.shape[1])
            start += size
            table = torch.from_numpy(first @ block @ second.T)
            pairs[one, : len(first), two, : len(second)] = table
            pairs[two, : len(second), one, : len(first)] = table.T
        return options, pairs

    def _columns(self, slot: int) -> slice:
        return slice(int(self.starts[slot]), int(self.starts[slot + 1]))


def _contrasts(count: int) -> Array:
    """Return orthonormal columns that sum to zero, [O, O - 1] (Helmert)."""
    table = np.zeros((count, count - 1))
    for column in range(count - 1):
        table[: column + 1, column] = -1
        table[column + 1, column] = column + 1
    return table / np.linalg.norm(table, axis=0)


@dataclass(frozen=True)
class _Fit:
    """A ridge regression.

    Attributes:
        coefficients: [C], 0 where the penalty is infinite.
        press: mean square of left-out residuals.
        covariance: [C, C] of the posterior, whose prior is worth ``penalty`` scores: sigma^2 (X'X + penalty)^-1. There
            sigma^2 is the squares of residuals by the degrees of freedom that the fit leaves.
        has_pairs: whether there are columns of pairs.
    """

    coefficients: Array
    press: float
    covariance: Array
    has_pairs: bool = False


@dataclass(frozen=True)
class _Decomposed:
    """Columns over the roots of their penalties, Z = U S V', R values above zero.

    Attributes:
        left: U [M, R].
        squares: S^2 [R].
        right: V [C', R], of the columns whose penalty is finite.
        used: which columns these are, bool [C].
        scale: one over the roots of their penalties, [C'].
    """

    left: Array
    squares: Array
    right: Array
    used: npt.NDArray[np.bool_]
    scale: Array

    @classmethod
    def of(cls, design: Array, penalty: Array) -> _Decomposed:
        """Decompose centred columns [M, C] by the eigenvalues of Z'Z or of ZZ', whichever is smaller."""
        used = np.isfinite(penalty)
        scale = 1 / np.sqrt(penalty[used])
        scaled = design[:, used] * scale
        wide = scaled.shape[1] > len(scaled)
        squares, vectors = np.linalg.eigh(scaled @ scaled.T if wide else scaled.T @ scaled)
        kept = squares > 1e-13 * max(float(squares[-1]), 1e-300)
        squares, vectors = squares[kept], vectors[:, kept]
        others = (scaled.T @ vectors if wide else scaled @ vectors) / np.sqrt(squares)
        left, right = (vectors, others) if wide else (others, vectors)
        return cls(left, squares, right, used, scale)

    def missed(self, target: Array, multiples: Sequence[float] = (1.0,)) -> Array:
        """Return the squares of left-out residuals under each of some multiples of the penalties, [M, P].

        The residual of a left-out row is e / (1 - h), h its leverage.
        """
        shrunk = self.squares[:, None] / (self.squares[:, None] + np.array(multiples))  # [R, P]
        residuals = target[:, None] - self.left @ (shrunk * (self.left.T @ target)[:, None])
        leverage = (self.left**2) @ shrunk + 1 / len(target)
        return np.asarray((residuals / np.maximum(1 - leverage, 1e-9)) ** 2)


def _ridge(design: Array, target: Array, penalty: Array) -> _Fit:
    """Fit centred targets to centred columns."""
    one = _Decomposed.of(design, penalty)
    press = float(one.missed(target).mean())
    shrunk = one.squares / (one.squares + 1)
    coefficients, covariance = np.zeros(len(penalty)), np.zeros((len(penalty), len(penalty)))
    coefficients[one.used] = one.scale * (one.right @ (shrunk / np.sqrt(one.squares) * (one.left.T @ target)))
    inverse = np.eye(len(one.scale)) - (one.right * shrunk) @ one.right.T  # of the scaled gram matrix and the prior
    residuals = target - one.left @ (shrunk * (one.left.T @ target))
    noise = float(residuals @ residuals) / max(len(target) - 1 - float(shrunk.sum()), 1.0)  # less what the fit takes up
    covariance[np.ix_(one.used, one.used)] = noise * inverse * np.outer(one.scale, one.scale)
    return _Fit(coefficients, press, covariance)
