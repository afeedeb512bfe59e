"""Spaces in which the score of every architecture is known for every task.

Shapes: T tasks, B slots, A architectures of the space, M evaluated ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Choices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Landscape:
    """A search space (``fbnetv5.search.space.SearchSpace``) whose options cost nothing, with the score of all of it.

    Attributes:
        num_options: of each slot.
        slot_names: of each slot.
        tasks: names of the tasks.
        values: scores, higher is better, [T, A]; architectures in the order of :func:`every_choice`.
    """

    num_options: tuple[int, ...]
    slot_names: tuple[str, ...]
    tasks: tuple[str, ...]
    values: Array

    @property
    def option_costs(self) -> tuple[tuple[float, ...], ...]:
        """Zeros."""
        return tuple((0.0,) * count for count in self.num_options)

    def decode(self, choices: Sequence[int]) -> tuple[int, ...]:
        """Return the choices themselves."""
        return tuple(choices)

    @cached_property
    def deviations(self) -> Array:
        """Standard deviation of each task's score over all architectures, [T]."""
        return np.asarray(self.values.std(axis=1))

    @cached_property
    def digest(self) -> str:
        """What tells this landscape from others of its space: eight letters of a hash of its scores."""
        return hashlib.sha256(np.round(self.values, 4).tobytes()).hexdigest()[:8]

    def at(self, choices: Choices) -> Array:
        """Return the scores of choices [..., B], [T, ...]."""
        return np.asarray(self.values[:, np.ravel_multi_index(tuple(np.moveaxis(choices, -1, 0)), self.num_options)])

    def regret(self, choices: Choices) -> Array:
        """Return how far the choices [T, B], one for each task, are below the best of all architectures, [T]."""
        return np.asarray(self.values.max(axis=1) - np.diagonal(self.at(choices)))

    def only(self, task: int) -> Landscape:
        """Return the landscape of one of the tasks."""
        return Landscape(self.num_options, self.slot_names, self.tasks[task : task + 1], self.values[task : task + 1])


def every_choice(num_options: Sequence[int]) -> Choices:
    """Return all architectures, [A, B], the last slot changing fastest."""
    return np.stack(np.unravel_index(np.arange(np.prod(num_options)), tuple(num_options)), axis=1)


class Evaluations:
    """Noisy scores of a landscape, lower is better, as a supernet's losses are.

    Args:
        landscape: what is searched.
        noise: deviation of what is added to each score of an evaluation, over the task's deviation over architectures.
        seed: of the noise.
    """

    def __init__(self, landscape: Landscape, noise: float, seed: Sequence[int]) -> None:
        self.landscape = landscape
        self.count = 0
        self.noise, self.seed = noise, tuple(seed)
        self._scale = noise * landscape.deviations
        self._rng = np.random.default_rng(seed)

    def __call__(self, choices: Choices, repeats: int = 1) -> Array:
        """Evaluate choices [M, B], each ``repeats`` times, for all tasks at once; return their mean scores [T, M]."""
        self.count += repeats * len(choices)
        noise = self._rng.standard_normal((len(choices), repeats, len(self._scale))).mean(axis=1)
        return np.asarray((noise * self._scale).T - self.landscape.at(choices))

    def only(self, task: int) -> Evaluations:
        """Return evaluations of one of the tasks, with noise of their own."""
        return Evaluations(self.landscape.only(task), self.noise, (*self.seed, task))
