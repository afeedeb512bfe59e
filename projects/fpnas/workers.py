"""Pieces of work, done beside one another where there are several devices or cores."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.engine.log import clock
from fbnetv5.projects.table5.pool import WorkerPool
from fbnetv5.runs.processes import num_cores, visible_gpus


class Workers:
    """A context in which work is done by ``count`` processes, which stay; one does it in this process.

    Args:
        runtime: of the run. ``threads`` is 1 by default: it may change the last digits of results, the number of
            processes must not.
        count: processes; None: one a GPU, or one for every ``runtime.threads`` cores.
        do: does a piece of work; a function of a module.
    """

    def __init__(self, runtime: RuntimeConfig, count: int | None, do: Callable[[Any], None]) -> None:
        gpus = [] if runtime.device == "cpu" else visible_gpus()
        self.threads = runtime.threads or 1
        self.count = count or len(gpus) or max(1, num_cores() // self.threads)
        self._do = do
        self._pool = WorkerPool(self.count, do, threads=self.threads, devices=gpus) if self.count > 1 else None
        self._stack = contextlib.ExitStack()

    def do_all(self, works: Mapping[str, Any], logs: Path, on_done: Callable[[str], None]) -> None:
        """Do pieces of work.

        Args:
            works: each by its name.
            logs: folder where processes print to ``<name>.log``.
            on_done: is called with the name of each, as soon as it is done.

        Raises:
            InputError: one failed; those that are running are given up.
        """
        if self._pool is None:
            for name, work in works.items():
                self._do(work)
                on_done(name)
            return
        waiting = list(works)
        while waiting or self._pool.is_busy:
            while waiting and self._pool.has_room:
                name = waiting.pop(0)
                self._pool.start(name, works[name], logs / f"{name}.log")
            done = self._pool.wait()
            if done.error:
                raise InputError(f"{done.name} failed: {done.error}; resume=true goes on after what is done")
            on_done(done.name)

    def __enter__(self) -> Workers:
        if self._pool is not None:
            self._stack.enter_context(self._pool)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


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
