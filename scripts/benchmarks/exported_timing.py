"""Latencies of exported files: each with a number of threads in a process of its own, all in turn.

ExecuTorch and TorchScript have one pool of threads a process, which is made before anything is loaded.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.exported_files import ExportedFile
from benchmarks.processes import connected, receive
from fbnetv5.base.errors import InputError
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.runtime import RUNTIMES, Runner

MIN_CALLS = 3  # in a turn


@dataclass
class Timing:
    """Milliseconds a call of a file with ``threads`` threads.

    Attributes:
        round_ms: the median call of each round.
        fastest_ms: the fastest call of each round.
        cpu_ms: the median of each round in CPU time, of all threads together. On one thread, that is what a call takes
            on an idle machine.
    """

    file: ExportedFile
    threads: int
    round_ms: list[float] = field(default_factory=list)
    fastest_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        """The median over rounds."""
        return statistics.median(self.round_ms)

    @property
    def ms_per_gmac(self) -> float:
        """Milliseconds for 10**9 multiply-adds, by the median."""
        return self.ms / (self.file.macs / 1e9)


def measure(
    files: Sequence[ExportedFile],
    threads: Sequence[int],
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], object],
) -> list[Timing]:
    """Time all files with each number of threads, task by task.

    Within a task everything gets its turn once a round, so that the machine's drift meets all alike; every second round
    goes backwards. A first round is not counted.

    Args:
        files: to time.
        threads: numbers of CPU threads.
        rounds: turns of each.
        seconds: that a turn takes, after a call that is not timed.
        say: takes lines that tell how far it is.

    Returns:
        the timings of those that can be loaded; of the others ``say`` is told.

    Raises:
        InputError: a package is not installed, or a process has failed after it had loaded its file.
    """
    if any(file.runtime == "executorch" for file in files):
        _import_executorch()
    timings = [Timing(file, number) for file in files for number in threads]
    start, done, total = time.monotonic(), 0, len(timings) * (rounds + 1)
    for task in dict.fromkeys(file.task for file in files):
        group = [timing for timing in timings if timing.file.task == task]
        with _workers(group, say) as workers:
            for number in range(-1, rounds):
                for i in range(len(workers)) if number % 2 else reversed(range(len(workers))):
                    timing, worker = workers[i]
                    worker.send(seconds)
                    found = receive(worker)
                    if number >= 0:
                        for kept, ms in zip((timing.round_ms, timing.fastest_ms, timing.cpu_ms), found, strict=True):
                            kept.append(ms)
                done += len(group)
                left = (time.monotonic() - start) / done * (total - done)
                say(f"{task}: round {number + 1} of {rounds}, about {left / 60:.1f} minutes left in all")
    return [timing for timing in timings if timing.round_ms]


def _import_executorch() -> None:
    """Import it once for all processes that are forked; onnxruntime is quick, and starts a thread."""
    with needs_extra("running a .pte file"):
        import executorch.runtime  # noqa: F401


def on_busy_machine(timings: Sequence[Timing]) -> list[Timing]:
    """Return timings that other work hardly changes: CPU time on one thread, the fastest call of all on several."""
    return [
        replace(timing, round_ms=timing.cpu_ms if timing.threads == 1 else [min(timing.fastest_ms)])
        for timing in timings
    ]


@contextlib.contextmanager
def _workers(timings: Sequence[Timing], say: Callable[[str], object]) -> Iterator[list[tuple[Timing, Connection]]]:
    """Start a process for each timing, and end them all in the end; files that cannot be loaded are left out."""
    with contextlib.ExitStack() as stack:
        workers = []
        for timing in timings:
            worker = stack.enter_context(connected(_serve, timing.file, timing.threads))
            try:
                receive(worker)  # one loads at a time
            except InputError as error:
                say(f"left out: {error}")
                continue
            workers.append((timing, worker))
        yield workers


def _serve(connection: Connection, file: ExportedFile, threads: int) -> None:
    """Load a file, answer with nothing, then answer each number of seconds with what :func:`turn` returns."""
    try:
        run = RUNTIMES[file.runtime](Path(file.path), threads).runner
        image = torch.randn(1, 3, file.height, file.width, generator=torch.Generator().manual_seed(0))
        run(image)
        connection.send(())
        while True:
            connection.send(turn(run, image, connection.recv()))
    except (InputError, RuntimeError) as error:
        connection.send(InputError(f"{file.path}: {error}"))
    except (EOFError, KeyboardInterrupt, ConnectionError):
        return


def turn(run: Runner, image: torch.Tensor, seconds: float) -> tuple[float, float, float]:
    """Call until ``seconds`` are over, after a call that is not timed.

    Returns:
        milliseconds of the median call, of the fastest one, and the median in CPU time.
    """
    run(image)
    calls: list[float] = []
    cpu_calls: list[float] = []
    while len(calls) < MIN_CALLS or sum(calls) < 1e3 * seconds:
        start, cpu_start = time.perf_counter(), time.process_time()
        run(image)
        cpu_calls.append(1e3 * (time.process_time() - cpu_start))
        calls.append(1e3 * (time.perf_counter() - start))
    return statistics.median(calls), min(calls), statistics.median(cpu_calls)
