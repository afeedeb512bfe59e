"""The table of a comparison, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fbnetv5.engine.log import clock
from fbnetv5.runs.markdown import chance, markdown_table, spread
from fbnetv5.runs.statistics import p_above

FOUND, RANDOM, BEST = "FPNAS", "random", "best random"  # rows; what others found has names of the user's
COLUMNS = ("network", "MACs, M", "parameters, M", "test top-1, %", "trainings", "time of a training")


@dataclass(frozen=True)
class Measured:
    """What came out of one training.

    Attributes:
        method: that the network comes from.
        seed: of the comparison.
        macs: of the network with its classifier.
        params: that are trained.
        accuracy: on the test images, in [0, 1].
        seconds: that the training took.
    """

    method: str
    seed: int
    macs: int
    params: int
    accuracy: float
    seconds: float


def markdown(
    measured: Sequence[Measured],
    searches: Sequence[tuple[str, dict[str, Any]]],
    epochs: int,
    num_images: tuple[int, int],
) -> str:
    """Return the table with a row a method, the differences to what was found, and what the searches took.

    Args:
        measured: all trainings; the first method is the one that the others are compared with.
        searches: row and what search.json holds, of every search.
        epochs: of each training.
        num_images: trained on, and tested on.
    """
    methods = list(dict.fromkeys(one.method for one in measured))
    rows = [_row(method, [one for one in measured if one.method == method]) for method in methods]
    text = "\n".join(markdown_table([COLUMNS, *rows], numeric_from=1)) + "\n"
    text += "\n± is the standard deviation over trainings; "
    text += f"each is {epochs} epochs of {num_images[0]:,} images, tested on {num_images[1]:,}.\n"
    for method in methods[1:]:
        p = chance(p_above(means(measured, methods[0]), means(measured, method)))
        text += f"{methods[0]} less {method}: {_difference(measured, methods[0], method)} points; p = {p}.\n"
    text += (
        "p is that of Welch's one-sided test that the first is not better, of the means of searches or seeds, and of "
        f"random networks one by one; that beside {RANDOM} is the planned one.\n"
    )
    for name in dict.fromkeys(name for name, _ in searches):
        own = [search for row, search in searches if row == name]
        seconds = [search["training_seconds"] for search in own]
        text += (
            f"A search ({name}) took {own[0]['epochs']} epochs of {own[0]['training_images']:,} images, "
            f"{own[0]['image_passes']:,} in all, and {clock(statistics.mean(seconds))} (h:mm:ss, seconds summed over "
            f"trainings, which may run at the same time; mean of {len(seconds)}).\n"
        )
    return text


def _difference(measured: Sequence[Measured], method: str, other: str) -> str:
    """Return the difference of two methods, seed by seed; to the best random network, which has one seed, of means."""
    if other == BEST:
        return f"{100 * (statistics.mean(means(measured, method)) - statistics.mean(means(measured, other))):.2f}"
    return f"{spread(differences(measured, method, other), digits=2)}, seed by seed,"


def means(measured: Sequence[Measured], method: str) -> list[float]:
    """Return what a test compares: of each seed the mean over trainings; of random networks each training."""
    if method in (RANDOM, BEST):
        return [one.accuracy for one in measured if one.method == method]
    by_seed: dict[int, list[float]] = {}
    for one in measured:
        if one.method == method:
            by_seed.setdefault(one.seed, []).append(one.accuracy)
    return [statistics.mean(values) for values in by_seed.values()]


def differences(measured: Sequence[Measured], method: str, other: str) -> list[float]:
    """Return, seed by seed, the mean test accuracy of a method less that of another, in points, where both have any."""
    gains = []
    seeds = [{one.seed for one in measured if one.method == name} for name in (method, other)]
    for seed in sorted(seeds[0] & seeds[1]):
        means = [
            statistics.mean(one.accuracy for one in measured if (one.method, one.seed) == (name, seed))
            for name in (method, other)
        ]
        gains.append(100 * (means[0] - means[1]))
    return gains


def _row(method: str, group: Sequence[Measured]) -> list[str]:
    macs, params = (statistics.mean(getattr(one, key) for one in group) / 1e6 for key in ("macs", "params"))
    top1 = spread([100 * one.accuracy for one in group], digits=2)
    seconds = clock(statistics.mean(one.seconds for one in group))
    return [method, f"{macs:.3f}", f"{params:.3f}", top1, str(len(group)), seconds]
