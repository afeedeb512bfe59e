"""NAS-Bench-Macro: eight positions with three options each, all 6,561 networks trained three times on CIFAR-10."""

from __future__ import annotations

import numpy as np

from fbnetv5.projects.tables.landscape import Landscape
from fbnetv5.projects.tables.published import read_table

SLOTS = 8
PRICE = 5.0  # points of top-1 that the dearest network pays


def macro_landscape() -> Landscape:
    """Build the landscape of three tasks.

    The table has one data set. The tasks want different networks by what they pay for: ``top1`` is the mean test top-1
    of the three seeds; ``top1-flops`` and ``top1-params`` are less by :data:`PRICE` points times the share of the
    dearest network's FLOPs or parameters.
    """
    table = read_table("nas_bench_macro")
    top1 = table.of("top1_0", "top1_1", "top1_2").mean(axis=1)
    flops, params = (column / column.max() for column in table.of("flops", "params").T)
    codes = table.of("architecture")[:, 0].astype(np.int64)
    digits = codes[:, None] // 10 ** np.arange(SLOTS - 1, -1, -1) % 10
    place = np.ravel_multi_index(tuple(digits.T), (3,) * SLOTS)
    values = np.empty((3, len(codes)))
    values[:, place] = top1, top1 - PRICE * flops, top1 - PRICE * params
    names = tuple(f"position {slot + 1}" for slot in range(SLOTS))
    return Landscape((3,) * SLOTS, names, ("top1", "top1-flops", "top1-params"), values)
