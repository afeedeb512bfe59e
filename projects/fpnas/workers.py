"""Where the trainings of a run are done, and the line that says how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.engine.log import clock
from fbnetv5.runs.graph import Known, run_graph
from fbnetv5.runs.job import Job, Outcome
from fbnetv5.runs.machine import gpus_for, jobs_at_once
from fbnetv5.runs.place import InThisProcess, Place
from fbnetv5.runs.warm import WarmProcesses


def threads_of(runtime: RuntimeConfig) -> int:
    """Return the threads of a training: 1 by default.

    They may change the last digits of results; the number of processes must not.
    """
    return runtime.threads or 1


def find_place(runtime: RuntimeConfig, count: int | None) -> Place:
    """Return where trainings are done: in processes that stay, or where there is one, in this process.

    Args:
        runtime: of the run.
        count: processes; None: one a GPU, or one for every ``runtime.threads`` cores.
    """
    gpus, threads = gpus_for(runtime), threads_of(runtime)
    number = jobs_at_once(count, gpus, threads)
    return WarmProcesses(number, threads=threads, devices=gpus) if number > 1 else InThisProcess(titles=False)


def do_all(jobs: Sequence[Job], place: Place, on_end: Callable[[Outcome], None]) -> None:
    """Have jobs done that are not done yet; ``on_end`` is called when one has ended.

    Raises:
        InputError: one failed; the others have been done.
    """
    outcomes = run_graph(lambda _: Known(jobs), place, lambda outcome, _: on_end(outcome))
    for name, outcome in outcomes.items():
        if not outcome.is_finished:
            raise InputError(f"{name} failed: {outcome.error}; resume=true goes on after what is done")


class ProgressLine:
    """A context with a line that says how much is done, of all that will be, and how long the rest takes.

    It is silent where nobody watches; messages are printed in any case.

    Args:
        total: of what is counted.
        unit: its name, in the plural.
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.done = total, 0
        self._skipped = 0
        self._console = Console(stderr=True, highlight=False)
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn(f"{unit}{{task.fields[status]}}"))
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal, transient=True)
        self._line = self._bar.add_task("", total=total, status="")
        self._begin = time.perf_counter()

    def skip(self, count: int) -> None:
        """Count what an earlier run has done, which says nothing of the time that the rest takes."""
        self._skipped += count
        self.advance(count)

    def advance(self, count: int) -> None:
        """Count what is done."""
        self.done += count
        self._bar.update(self._line, completed=self.done, status=self.eta())

    def eta(self) -> str:
        """Return the time to the end as text; nothing before there is an estimate, and at the end."""
        timed, left = self.done - self._skipped, self.total - self.done
        if timed <= 0 or left <= 0:
            return ""
        return f", ETA {clock((time.perf_counter() - self._begin) / timed * left)}"

    def say(self, message: str) -> None:
        """Print a line for the person who waits."""
        self._console.print(message, markup=False, soft_wrap=True)

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
