"""Worker processes that stay: each does one job after another, without a Python start for each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.runs.processes import THREADS

GRACE = 10.0  # seconds that an interrupted worker has to end by itself


@dataclass(frozen=True)
class Done:
    """How a job ended: ``error`` is one line, and empty unless it failed."""

    name: str
    error: str
    seconds: float


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: str = ""  # its name, while it does one
    started: float = 0.0


class WorkerPool:
    """A context in which jobs run in ``num_processes`` processes; its end is theirs, whatever it is.

    Args:
        num_processes: at least 1.
        work: does a job in a worker; a function of a module.
        threads: of each process.
        devices: GPUs, as CUDA_VISIBLE_DEVICES names them, that the processes take in turn; by default they see all.
    """

    def __init__(
        self, num_processes: int, work: Callable[[Any], None], *, threads: int = 1, devices: Sequence[str] = ()
    ) -> None:
        self._work = work
        self._environment = dict.fromkeys(THREADS, str(threads))
        self._devices = tuple(devices)
        self._workers: list[_Worker | None] = [None] * num_processes  # started when there is work
        self._on_terminate: Any = None

    @property
    def has_room(self) -> bool:
        """Whether a worker is free."""
        return any(worker is None or not worker.job for worker in self._workers)

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return any(worker is not None and worker.job for worker in self._workers)

    def start(self, name: str, job: Any, log: Path) -> None:
        """Give a job to a free worker; what it prints is appended to ``log``."""
        slot = next(i for i, worker in enumerate(self._workers) if worker is None or not worker.job)
        worker = self._workers[slot] or _start_worker(self._work, self._environment_of(slot))
        self._workers[slot] = worker
        worker.job, worker.started = name, time.monotonic()
        worker.connection.send((job, str(log)))

    def wait(self) -> Done:
        """Wait for a job to end. A worker that dies is replaced."""
        busy = {worker.connection: slot for slot, worker in enumerate(self._workers) if worker and worker.job}
        connection = wait(list(busy))[0]
        assert isinstance(connection, Connection)
        worker = self._workers[busy[connection]]
        assert worker is not None
        try:
            error = connection.recv()
        except (EOFError, OSError):  # it is gone
            worker.process.join()
            error = _how_it_died(worker.process.exitcode)
            self._workers[busy[connection]] = None
        done = Done(worker.job, error, time.monotonic() - worker.started)
        worker.job = ""
        return done

    def _environment_of(self, slot: int) -> dict[str, str]:
        if not self._devices:
            return self._environment
        return self._environment | {"CUDA_VISIBLE_DEVICES": self._devices[slot % len(self._devices)]}

    def __enter__(self) -> WorkerPool:
        self._on_terminate = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        workers = [worker for worker in self._workers if worker is not None]
        deadline = time.monotonic() + GRACE
        for number in (signal.SIGTERM, signal.SIGKILL):
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.process.pid or 0, number)
            for worker in workers:
                worker.process.join(max(0.0, deadline - time.monotonic()) if number == signal.SIGTERM else None)
        signal.signal(signal.SIGTERM, self._on_terminate)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _start_worker(work: Callable[[Any], None], environment: Mapping[str, str]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    ready, tell = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(there, tell, work))
    with _environment(environment):
        process.start()
    there.close()
    tell.close()
    with contextlib.suppress(EOFError):
        ready.recv()  # it leads a process group now, that it can be ended with
    return _Worker(process, here)


def _serve(connection: Connection, tell: Connection, work: Callable[[Any], None]) -> None:
    """Do jobs until the parent is gone; answer each with its error."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tell.send(None)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while True:
        job, log = connection.recv()
        _print_to(Path(log))
        connection.send(_attempt(work, job))


def _attempt(work: Callable[[Any], None], job: Any) -> str:
    """Return the error of a job in one line, empty if there is none."""
    try:
        work(job)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return " ".join(str(error).split())
    except Exception as error:  # whatever it is, the other jobs run
        traceback.print_exc()
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def _end_with(parent: BaseProcess) -> None:
    """End this process, and those that it started, when its parent has ended."""
    wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)


def _print_to(log: Path) -> None:
    """Append to a file what this process and its children print."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Within the context, environment variables have other values; what is started in it inherits them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _how_it_died(status: int | None) -> str:
    if status is None or status >= 0:
        return f"its process ended with status {status}"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"killed by {signal.Signals(-status).name}{hint}"
