"""How a task's block probabilities moved over a search, and whether they have come to rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fbnetv5.archs.topology import Topology

Probabilities = tuple[float, ...]
DECIDED = 0.1  # a block is decided if its probability is within this of 0 or 1
OPEN = 0.15  # and open if it is within this of a half
LAST_PART = 0.25  # of the run, in which a search that has settled changes no block's side


@dataclass(frozen=True)
class History:
    """One task's probabilities that each block is selected.

    Attributes:
        task: its name.
        num_stages: S.
        records: (step, S x 4 probabilities, stage by stage), in the order of steps; at least one.
    """

    task: str
    num_stages: int
    records: tuple[tuple[int, Probabilities], ...]

    @property
    def last(self) -> Probabilities:
        """The latest probabilities."""
        return self.records[-1][1]

    @property
    def last_step(self) -> int:
        """The step of the latest record."""
        return self.records[-1][0]

    @property
    def entropies(self) -> list[tuple[float, float]]:
        """(step, mean entropy of a block in bits): 1 where all is open, 0 where all is decided."""
        return [(step, sum(map(_entropy, values)) / len(values)) for step, values in self.records]

    @property
    def num_decided(self) -> int:
        """Blocks that are almost certainly skipped or selected."""
        return sum(min(value, 1 - value) <= DECIDED for value in self.last)

    @property
    def num_open(self) -> int:
        """Blocks that may still go either way."""
        return sum(abs(value - 0.5) < OPEN for value in self.last)

    @property
    def num_turned(self) -> int:
        """Blocks that were once on the other side of a half in the last part of the run."""
        late = [values for step, values in self.records if step >= (1 - LAST_PART) * self.last_step]
        return sum(len({values[slot] > 0.5 for values in late}) > 1 for slot in range(len(self.last)))

    @property
    def verdict(self) -> str:
        """One word: settled (nothing turned late, a tenth open at most), settling (a tenth turned at most), moving."""
        tenth = len(self.last) / 10
        if self.num_turned == 0 and self.num_open <= tenth:
            return "settled"
        return "settling" if self.num_turned <= tenth and self.num_open < len(self.last) / 2 else "moving"

    def most_likely(self) -> Topology:
        """Return the topology of the blocks that are likelier selected than not, with all outputs."""
        blocks = ((1 + slot // 4, slot % 4) for slot, value in enumerate(self.last) if value > 0.5)
        return Topology(self.num_stages, frozenset(blocks))


def _entropy(probability: float) -> float:
    return -sum(p * math.log2(p) for p in (probability, 1 - probability) if p > 0)
