"""The reward with its bound (eq. 2), and networks drawn below it; knows MACs and choices, nothing of networks.

Shapes: N positions; position i has K_i block types, and a network chooses one of them at each position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fbnetv5.base.errors import InputError

Choices = tuple[int, ...]
OVER_BOUND = -1.0
NUM_DRAWS = 1000  # before a network that is drawn over the bound is made cheaper instead of drawn again


def reward(accuracy: float, macs: float, bound: float) -> float:
    """Return the validation accuracy of a network with fewer MACs than the bound, else -1 (eq. 2)."""
    return accuracy if macs < bound else OVER_BOUND


@dataclass(frozen=True)
class BoundedSpace:
    """All networks, the MACs of each, and how many a network may have.

    Attributes:
        type_macs: MACs of every type at every position, N rows of K_i numbers.
        fixed_macs: MACs of what is not searched: stem and classifier.
        bound: b; a network has fewer MACs than this.

    Raises:
        InputError: no network has.
    """

    type_macs: tuple[tuple[int, ...], ...]
    fixed_macs: int
    bound: float

    def __post_init__(self) -> None:
        if not self.cheapest < self.bound:
            raise InputError(
                f"project.bound={self.bound:,.0f} MACs is met by no network: the cheapest of this space has "
                f"{self.cheapest:,}; raise the bound, or lower project.multiplier or data.crop"
            )

    @property
    def cheapest(self) -> int:
        """The fewest MACs that a network has."""
        return self.fixed_macs + sum(map(min, self.type_macs))

    @property
    def dearest(self) -> int:
        """The most MACs that a network has."""
        return self.fixed_macs + sum(map(max, self.type_macs))

    @property
    def num_types(self) -> tuple[int, ...]:
        """K_i, the types of each position."""
        return tuple(map(len, self.type_macs))

    def macs(self, choices: Sequence[int]) -> int:
        """Return f, the MACs of a network."""
        return self.fixed_macs + sum(macs[chosen] for macs, chosen in zip(self.type_macs, choices, strict=True))

    def reward(self, choices: Sequence[int], accuracy: float) -> float:
        """Return the reward of a network of this validation accuracy (eq. 2)."""
        return reward(accuracy, self.macs(choices), self.bound)

    def is_within(self, choices: Sequence[int]) -> bool:
        """Whether a network has fewer MACs than the bound."""
        return self.macs(choices) < self.bound

    def types_within(self, choices: Sequence[int], position: int) -> list[int]:
        """Return the types that ``position`` may have while the other positions stay as in ``choices``."""
        return [kind for kind in range(self.num_types[position]) if self.is_within(swap(choices, position, kind))]

    def require_within(self, choices: Sequence[int]) -> None:
        """Raise ValueError for a network that must not be trained; no method asks for one."""
        if not self.is_within(choices):
            raise ValueError(
                f"a network of {self.macs(choices):,} MACs was to be trained, the bound is {self.bound:,.0f}"
            )

    def draw(self, draws: torch.Generator) -> Choices:
        """Draw a network below the bound: uniformly, by rejection.

        Where almost all networks are over the bound, a draw is made cheaper, one random position after the other.
        """
        for _ in range(NUM_DRAWS):
            choices = self.draw_any(draws)
            if self.is_within(choices):
                return choices
        while not self.is_within(choices):
            position = _pick(range(len(choices)), draws)
            macs = self.type_macs[position]
            cheaper = [kind for kind, cost in enumerate(macs) if cost < macs[choices[position]]]
            if cheaper:
                choices = swap(choices, position, _pick(cheaper, draws))
        return choices

    def draw_any(self, draws: torch.Generator) -> Choices:
        """Draw a network uniformly, whatever it costs."""
        return tuple(_pick(range(count), draws) for count in self.num_types)

    def draw_near(self, target: float, tolerance: float, draws: torch.Generator, *, attempts: int = 10_000) -> Choices:
        """Draw a network below the bound whose MACs differ from ``target`` by at most the share ``tolerance`` of it.

        A random network is moved towards the target, one random position at a time, which may go on from a new one.

        Raises:
            InputError: none was found.
        """
        choices = self.draw_any(draws)
        for attempt in range(attempts):
            away = abs(self.macs(choices) - target)
            if away <= tolerance * target and self.is_within(choices):
                return choices
            if attempt % 200 == 199:  # stuck, as one change at a time can be
                choices = self.draw_any(draws)
                continue
            position = _pick(range(len(choices)), draws)
            moved = swap(choices, position, _pick(range(self.num_types[position]), draws))
            if abs(self.macs(moved) - target) < away:
                choices = moved
        raise InputError(
            f"no network of {target:,.0f} MACs was found, give or take {tolerance:.1%}, below project.bound="
            f"{self.bound:,.0f}; raise the tolerance"
        )


def swap(choices: Sequence[int], position: int, kind: int) -> Choices:
    """Return ``choices`` with another type at one position."""
    return (*choices[:position], kind, *choices[position + 1 :])


def _pick(options: Sequence[int], draws: torch.Generator) -> int:
    return options[int(torch.randint(len(options), (), generator=draws))]
