"""Wall-clock times of things that are timed in turn, each after a preparation that is not timed."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from fbnetv5.latency.measure import Call, seconds_in_turn

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

    A first round is not counted; see :func:`fbnetv5.latency.measure.seconds_in_turn`.
    """
    ready: dict[K, Any] = {}

    def prepare(key: K, number: int) -> None:
        gc.collect()
        ready[key] = trials[key].prepare(max(number, 0))

    def call(key: K) -> Call:
        return lambda: trials[key].run(ready[key])

    return seconds_in_turn({key: call(key) for key in trials}, rounds, device, warm_up=1, prepare=prepare)
