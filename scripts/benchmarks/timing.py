"""Wall-clock times of things that are timed in turn, and plain-text tables."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

K = TypeVar("K", bound=Hashable)


def nothing(_round: int) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Trial:
    """Something to time.

    Attributes:
        run: is timed; takes what ``prepare`` returned.
        prepare: is not timed; takes the number of the round.
    """

    run: Callable[[Any], object]
    prepare: Callable[[int], Any] = nothing


def median_seconds(trials: Mapping[K, Trial], rounds: int, device: torch.device) -> dict[K, float]:
    """Time every trial once a round, in turn, and return each one's median; see :func:`seconds_by_round`."""
    return {key: statistics.median(values) for key, values in seconds_by_round(trials, rounds, device).items()}


def seconds_by_round(trials: Mapping[K, Trial], rounds: int, device: torch.device) -> dict[K, list[float]]:
    """Time every trial once a round, in turn, and return each one's seconds, one number a round.

    The machine's drift meets all trials alike; every second round goes backwards. A first round is not counted.
    """
    seconds: dict[K, list[float]] = {key: [] for key in trials}
    for number in range(-1, rounds):
        gc.collect()
        for key in list(trials) if number % 2 else reversed(list(trials)):
            ready = trials[key].prepare(max(number, 0))
            _synchronize(device)
            start = time.perf_counter()
            trials[key].run(ready)
            _synchronize(device)
            if number >= 0:
                seconds[key].append(time.perf_counter() - start)
    return seconds


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns aligned to the right, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]))
    return "\n".join(f"  {line}".rstrip() for line in lines)
