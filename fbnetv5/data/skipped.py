"""Images that could not be read, told of once and counted over all ranks."""

from __future__ import annotations

import sys

import torch

from fbnetv5.base.distributed import World
from fbnetv5.base.types import Batch


class SkippedImages:
    """Counts how often another image took the place of one that could not be read."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.total = 0
        self._named: set[str] = set()

    def count(self, batch: Batch) -> float:
        """Return the number for a step, over all ranks; each rank names its new ones on stderr."""
        for message in batch.skipped:
            if message not in self._named:
                self._named.add(message)
                print(f"skipped: {message}", file=sys.stderr)
        number = int(self.world.gather(torch.tensor([len(batch.skipped)])).sum())
        self.total += number
        return float(number)
