"""Compare what several searches found: did they learn something, or is it noise?

    python scripts/compare_runs.py runs/seeds/0 runs/seeds/1 runs/seeds/2

prints, for every pair of tasks, the correlation between the final block probabilities of one run and those of another,
averaged over pairs of runs. Searches that differ in their seed alone should agree within a task and less across tasks.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors

Probabilities = dict[str, list[float]]


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="See the top of this file.", allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of two or more searches of the same space")
    print(table([final_probabilities(run) for run in parser.parse_args(arguments).runs]))


def final_probabilities(run: Path) -> Probabilities:
    """Return the last probabilities of each task, slot by slot.

    Raises:
        InputError: the folder holds no finished record of a search.
    """
    file = run / "probabilities.csv"
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; is {run} the folder of a search?")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))[1:]
    if not rows:
        raise InputError(f"{file} holds no probabilities yet")
    return {task: [float(value) for value in values] for _, task, *values in rows}


def table(runs: Sequence[Probabilities]) -> str:
    """Return the mean correlations between runs, task by task, and how far the probabilities have moved from 0.5.

    Raises:
        InputError: there are fewer than two runs, or they searched other tasks or spaces.
    """
    if len(runs) < 2:
        raise InputError("give at least two runs to compare")
    tasks = list(runs[0])
    for run in runs[1:]:
        if list(run) != tasks or any(len(run[task]) != len(runs[0][task]) for task in tasks):
            raise InputError("the runs searched other tasks or spaces and cannot be compared")
    width = max(8, *(len(task) + 2 for task in tasks))
    lines = ["".join(f"{name:>{width}}" for name in ("", *tasks, "|p - 0.5|"))]
    for task in tasks:
        cells = [f"{mean_correlation(runs, task, other):>{width}.2f}" for other in tasks]
        moved = statistics.mean(abs(p - 0.5) for run in runs for p in run[task])
        lines.append(f"{task:>{width}}" + "".join(cells) + f"{moved:>{width + 1}.2f}")
    return "\n".join(lines)


def mean_correlation(runs: Sequence[Probabilities], task: str, other: str) -> float:
    """Return the mean over ordered pairs of different runs of the correlation between ``task`` and ``other``."""
    pairs = itertools.permutations(runs, 2)
    return statistics.mean(_correlation(a[task], b[other]) for a, b in pairs)


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the correlation of two rows; 0 where those of one have not moved yet."""
    return statistics.correlation(one, other) if len(set(one)) > 1 < len(set(other)) else 0.0


if __name__ == "__main__":
    main()
