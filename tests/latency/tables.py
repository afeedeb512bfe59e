"""Tables that were not measured."""

from __future__ import annotations

import torch

from fbnetv5.archs.families import get_family
from fbnetv5.latency.measure import current_conditions
from fbnetv5.latency.table import NUM_PATHS, NUM_VALUES, Conditions, LatencyTable

CPU = torch.device("cpu")
NANO = get_family("NANO")


def conditions(precision: str = "float32", repeats: int = 2, side: int = 64) -> Conditions:
    return current_conditions(NANO, (side, side), CPU, precision=precision, batch_size=1, repeats=repeats)


def random_table(seed: int) -> LatencyTable:
    values = torch.rand(NUM_VALUES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    for path in range(NUM_PATHS):
        values[(2 + path) * NUM_PATHS + path] = 0.0
    return LatencyTable.from_list(conditions(), values)
