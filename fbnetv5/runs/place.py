"""Places where jobs run: what a graph asks of them, and the simplest, this process."""

from __future__ import annotations

import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from fbnetv5.runs.job import Job, attempt, do


class Ended(NamedTuple):
    """A job that has ended: its name, its error in one line, empty if it finished, and how long it took."""

    name: str
    error: str
    seconds: float


class Place(ABC):
    """A context in which jobs run beside one another; its end is theirs, whatever it is.

    Within it SIGTERM is taken as Ctrl-C, so that a process that is terminated ends its jobs as well.

    Attributes:
        count: how many jobs can run at once.
    """

    count: int = 1
    _previous: Any = None

    @property
    @abstractmethod
    def room(self) -> int:
        """How many jobs can be started now."""

    @abstractmethod
    def start(self, jobs: Sequence[Job]) -> None:
        """Start jobs, for which there is room."""

    @abstractmethod
    def wait(self) -> list[Ended]:
        """Wait until one of the jobs that run has ended, or several; return them."""

    @abstractmethod
    def stop(self) -> None:
        """End all that runs, with what it started."""

    def __enter__(self) -> Place:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.stop()
        finally:
            if self._previous is not None:
                signal.signal(signal.SIGTERM, self._previous)


class InThisProcess(Place):
    """One job after the other, in this process; also under torchrun, where one that fails ends all ranks.

    Args:
        titles: print the name of each before it starts.
    """

    def __init__(self, *, titles: bool) -> None:
        self._titles = titles
        self._ended: list[Ended] = []

    @property
    def room(self) -> int:
        """One, until :meth:`wait` has returned what was started."""
        return 1 - len(self._ended)

    def start(self, jobs: Sequence[Job]) -> None:
        """Do a job."""
        for job in jobs:
            if self._titles:
                print(f"\n{job.name}", flush=True)
            started, error = time.monotonic(), ""
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                do(job.work)  # what it raises ends all ranks: the others may have seen no error, and would wait
            else:
                error = attempt(job.work)
            self._ended.append(Ended(job.name, error, time.monotonic() - started))

    def wait(self) -> list[Ended]:
        """Return the job that was started."""
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Nothing runs."""

    def __enter__(self) -> Place:
        return self  # it has no children that SIGTERM would leave behind
