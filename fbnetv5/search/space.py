"""Spaces of what is searched over, as far as a search needs to know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class SearchSpace(Protocol):
    """B slots; slot b has ``num_options[b]`` options, of which an architecture chooses one."""

    @property
    def num_options(self) -> tuple[int, ...]:
        """Options of each slot, length B."""

    @property
    def option_costs(self) -> tuple[tuple[float, ...], ...]:
        """Cost of every option of every slot, in one unit (MACs, parameters, milliseconds)."""

    @property
    def slot_names(self) -> tuple[str, ...]:
        """A short name for each slot, for tables and pictures."""

    def decode(self, choices: Sequence[int]) -> Any:
        """Turn B choices into the architecture that they stand for."""


@dataclass(frozen=True)
class CostTerm:
    """What cost adds to the score of an architecture, in deviations of the score: weight x max(0, share - target).

    Attributes:
        weight: lambda.
        target: share of the dearest architecture's cost up to which cost is free.
    """

    weight: float = 0.0
    target: float = 0.0

    def of(self, space: SearchSpace, choices: Tensor) -> Tensor:
        """Return the term of choices int64 [N, B], float64 [N]."""
        return self.weight * (relative_costs(space, choices) - self.target).clamp(min=0)

    def relaxed(self, space: SearchSpace, gates: Tensor) -> Tensor:
        """Return the term of gated architectures, float64 [..., B, O] to [...], differentiable."""
        return self.weight * (relaxed_costs(space, gates) - self.target).relu()


def relative_costs(space: SearchSpace, choices: Tensor) -> Tensor:
    """Cost of architectures as a share of the dearest one: sum_b a_b c_b / sum_b c_b.

    Args:
        space: the search space, B slots.
        choices: int64 [N, B].

    Returns:
        float64 [N] in [0, 1].
    """
    slots = torch.arange(len(space.num_options))
    return _cost_table(space)[slots, choices].sum(dim=1) / dearest(space)


def relaxed_costs(space: SearchSpace, gates: Tensor) -> Tensor:
    """Cost of gated architectures as a share of the dearest one; that of the choices where gates are one-hot.

    Args:
        space: the search space, B slots of up to O options.
        gates: float64 [..., B, O], how much of each option counts.

    Returns:
        float64 [...], differentiable.
    """
    return (gates * _cost_table(space)).sum(dim=(-2, -1)) / dearest(space)


def cost_of(space: SearchSpace, choices: Sequence[int]) -> float:
    """Return what an architecture costs, in the unit of the space's costs."""
    return sum(costs[option] for costs, option in zip(space.option_costs, choices, strict=True))


def limit_of(budget: float) -> float:
    """Return what an architecture that keeps to a budget may cost by sums of rounded numbers."""
    return budget * (1 + 1e-9)


def _cost_table(space: SearchSpace) -> Tensor:
    """Costs of the options, float64 [B, O]; zero where a slot has no such option."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(c, dtype=torch.float64) for c in space.option_costs], True)


def dearest(space: SearchSpace) -> float:
    """Return the cost of the dearest architecture; 1 where all options are free, of which each is then a share of 0."""
    return sum(max(costs) for costs in space.option_costs) or 1.0
