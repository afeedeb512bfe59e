"""Rounds in which files are timed in turn, until their times are steady; what was timed is kept at once."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import keep_lines, reported, write_text
from fbnetv5.latency.bundle import File, add_time, read_times
from fbnetv5.latency.timers import Timer

WARM_UP = 1  # rounds, whose answers are thrown away
DRIFT = 1.1  # between the first and the last third of the rounds, in the sum of all files
NUM_TOLD = 10  # lines at most that tell how far it is
MIN_ROUNDS = 3  # that drift can be told from


def measure_files(
    files: Mapping[str, File],
    timer: Timer,
    rounds: int,
    table: Path,
    *,
    say: Callable[[str], object],
    steady: bool = True,
    timed_by: str = "",
) -> dict[str, list[float]]:
    """Ask for each file's milliseconds once a round, and return those of the last ``rounds`` rounds.

    Where files were added since the last call, all are timed again. A first round is not counted, and every second one
    goes backwards. Each answer is written to ``table``, from which a later call goes on. Where the last rounds were
    slower or faster than the first, a later call takes as many again, and only those count.

    Args:
        files: by name.
        timer: that is asked.
        rounds: that count.
        table: of times, see :mod:`fbnetv5.latency.bundle`.
        say: is told how far it is.
        steady: whether times that drift are refused; else ``say`` is told.
        timed_by: device, threads and clock, which stand beside the table: times of another one are refused.

    Raises:
        InputError: the timer has no answer, or times drift; the table so far is kept.
    """
    _require_same(table, timed_by)
    found = _earlier(files, table, say)
    done = min(map(len, found.values()))
    if done >= rounds and (not steady or drift(found, rounds) <= DRIFT):
        return _latest(found, rounds)
    goal = rounds if done < rounds else done + rounds
    try:
        for number in range(done - WARM_UP, goal):
            for name in list(files) if number % 2 else reversed(list(files)):
                if number < done:
                    timer(files[name])
                elif len(found[name]) <= number:
                    ms = timer(files[name])
                    add_time(table, name, ms)
                    found[name].append(ms)
            if (number + 1) % max(1, goal // NUM_TOLD) == 0:
                say(f"round {number + 1} of {goal}" if number >= done else "a round to warm up")
    except InputError as error:
        raise InputError(f"{error}; what was timed is kept in {table}, from where the same command goes on") from error
    ratio = drift(found, rounds)
    if ratio > DRIFT and not steady:
        say(f"times drift: the last rounds and the first differ by a factor of {ratio:.2f}")
    elif ratio > DRIFT:
        raise InputError(
            f"times drift: the last rounds and the first differ by a factor of {ratio:.2f}, as on a device that gets "
            f"hot or has other work; let it rest: the same command takes {rounds} rounds more, and keeps {table}"
        )
    return _latest(found, rounds)


def _earlier(files: Mapping[str, File], table: Path, say: Callable[[str], object]) -> dict[str, list[float]]:
    """Return the times that a table has, none where they are of fewer files: those are set aside."""
    found: dict[str, list[float]] = {name: [] for name in files}
    if not table.exists():
        return found
    keep_lines(table, lambda line: True)  # but one that was cut off
    timed = found | read_times(table, files)
    if not _grew(timed):
        return timed
    places = (table.with_suffix(f".earlier{number or ''}.csv") for number in itertools.count())
    earlier = next(place for place in places if not place.exists())
    say(f"files were added: all are timed again, in the same rounds; {earlier} keeps what was timed")
    with reported(earlier):
        table.replace(earlier)
    return found


def _grew(found: Mapping[str, Sequence[float]]) -> bool:
    """Whether some files have been timed for rounds and others never, so that their times do not compare."""
    counts = [len(times) for times in found.values()]
    return min(counts) == 0 and max(counts) > 1


def _require_same(table: Path, timed_by: str) -> None:
    """Note beside a table what times its files. Raises InputError where that was another one."""
    note = table.with_suffix(".txt")
    known = note.read_text(encoding="utf-8").strip() if note.exists() and table.exists() else timed_by
    if known != timed_by:
        raise InputError(f"{table} was timed by {known}, not by {timed_by}: remove it, or choose another folder")
    with reported(note):
        write_text(note, timed_by + "\n")


def drift(times: Mapping[str, Sequence[float]], rounds: int) -> float:
    """Return the ratio, at least 1, of the sums of medians of the first and the last third of the last ``rounds``.

    Args:
        times: milliseconds by file, a number for each round.
        rounds: of which fewer than three have no drift.
    """
    third = rounds // MIN_ROUNDS
    if third == 0:
        return 1.0
    latest = _latest(times, rounds).values()
    first = sum(statistics.median(rows[:third]) for rows in latest)
    last = sum(statistics.median(rows[-third:]) for rows in latest)
    return max(first, last) / max(min(first, last), 1e-9)


def _latest(times: Mapping[str, Sequence[float]], rounds: int) -> dict[str, list[float]]:
    return {name: list(rows[-rounds:]) for name, rows in times.items()}
