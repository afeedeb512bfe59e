"""Jobs in processes that stay: each does one after another, without a Python start for each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from fbnetv5.base.memory import keep_freed_memory
from fbnetv5.runs.job import Call, Job, Run, attempt
from fbnetv5.runs.place import Ended, Place
from fbnetv5.runs.process import GRACE, THREADS, end_with, environment, how_it_died, printing_to

CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class _Worker:
    """An executor of one process: when that dies, no other job is lost."""

    executor: futures.ProcessPoolExecutor
    process: BaseProcess


@dataclass(frozen=True)
class _Running:
    job: Job
    slot: int
    started: float


class WarmProcesses(Place):
    """A context in which jobs run in ``count`` processes. One that dies is one failed job, and is replaced.

    Args:
        count: at least 1.
        threads: of each process.
        devices: GPUs, as CUDA_VISIBLE_DEVICES names them, that the processes take in turn; by default they see all.
    """

    def __init__(self, count: int, *, threads: int = 1, devices: Sequence[str] = ()) -> None:
        self.count = count
        self._environment = dict.fromkeys(THREADS, str(threads))
        self._devices = tuple(devices)
        self._workers: dict[int, _Worker] = {}  # by slot; started when there is work
        self._running: dict[futures.Future[tuple[str, float]], _Running] = {}

    @property
    def room(self) -> int:
        """How many processes have nothing to do."""
        return self.count - len(self._running)

    def start(self, jobs: Sequence[Job]) -> None:
        """Give each job to a process that has nothing to do."""
        for job in jobs:
            busy = {running.slot for running in self._running.values()}
            slot = next(slot for slot in range(self.count) if slot not in busy)
            future = self._submit(job, slot)
            self._running[future] = _Running(job, slot, time.monotonic())

    def wait(self) -> list[Ended]:
        """Wait until a job has ended; a process that died is forgotten."""
        done, _ = futures.wait(self._running, return_when=futures.FIRST_COMPLETED)
        return [self._end(future) for future in done]

    def stop(self) -> None:
        """End the processes and what they started: idle ones end of themselves; SIGTERM, after a while SIGKILL."""
        workers, busy = self._workers, {running.slot for running in self._running.values()}
        self._workers, self._running = {}, {}
        self._let_go([worker for slot, worker in workers.items() if slot not in busy])
        deadline = time.monotonic() + GRACE
        for number in (signal.SIGTERM, signal.SIGKILL):
            for worker in workers.values():
                _signal(worker.process, number)
            for worker in workers.values():
                worker.process.join(max(0.0, deadline - time.monotonic()) if number == signal.SIGTERM else None)
        for worker in workers.values():
            worker.executor.shutdown(cancel_futures=True)

    @staticmethod
    def _let_go(idle: Sequence[_Worker]) -> None:
        """Let processes without work end of themselves, so that they give back what libraries in them hold."""
        for worker in idle:
            worker.executor.shutdown(wait=False)
        for worker in idle:
            worker.process.join(GRACE)

    def _submit(self, job: Job, slot: int) -> futures.Future[tuple[str, float]]:
        """Give a job to the process of a slot, a new one where there is none, or where it has died meanwhile."""
        if slot in self._workers and not self._workers[slot].process.is_alive():
            self._forget(slot)
        if slot in self._workers:
            return self._workers[slot].executor.submit(_work, job.work, job.log)
        executor = futures.ProcessPoolExecutor(1, mp_context=CONTEXT, initializer=_begin)
        before = set(multiprocessing.active_children())
        with environment(self._environment_of(slot)):
            future = executor.submit(_work, job.work, job.log)  # which starts the process
        (process,) = set(multiprocessing.active_children()) - before
        self._workers[slot] = _Worker(executor, process)
        return future

    def _forget(self, slot: int) -> _Worker:
        """Return the process of a slot, which has died, after what it started has been ended."""
        worker = self._workers.pop(slot)
        worker.executor.shutdown()
        _signal(worker.process, signal.SIGKILL)
        return worker

    def _end(self, future: futures.Future[tuple[str, float]]) -> Ended:
        running = self._running.pop(future)
        try:
            return Ended(running.job.name, *future.result())
        except BrokenProcessPool:
            error = how_it_died(self._forget(running.slot).process.exitcode)
            return Ended(running.job.name, error, time.monotonic() - running.started)

    def _environment_of(self, slot: int) -> Mapping[str, str]:
        if not self._devices:
            return self._environment
        return self._environment | {"CUDA_VISIBLE_DEVICES": self._devices[slot % len(self._devices)]}


def _begin() -> None:
    """Lead a process group, that this process is ended with: by its parent, or when that has ended."""
    os.setsid()
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _end)  # at once: no job takes it as a reason to write a checkpoint
    parent = multiprocessing.parent_process()
    assert parent is not None
    end_with(lambda: wait([parent.sentinel]))


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _work(work: Run | Call, log: Path) -> tuple[str, float]:
    """Return the error of a job and its seconds."""
    started = time.monotonic()
    with printing_to(log):
        error = attempt(work)
    return error, time.monotonic() - started


def _signal(process: BaseProcess, number: signal.Signals) -> None:
    """Send a signal to the group of a process; to the process alone where it does not lead one yet."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
