"""Processes of tests, forked from a server that has imported torch and fbnetv5: one starts in milliseconds."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.multiprocessing as mp
from torch.distributed import TCPStore

from fbnetv5.cli import launch as command_line

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = (  # only imported there: no thread, no device, no seed
    "pytest",
    "tests.processes",
    "tests.jobs.cases",
    *(f"fbnetv5.{name}" for name in ("jobs.search", "jobs.train", "heads.lite_rcnn", "heads.lite_maskformer")),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "torch.utils.tensorboard"),
)
FORKS.set_forkserver_preload(list(PRELOADED))


def start(work: Callable[..., Any], *args: Any, log: Path, env: Mapping[str, str]) -> BaseProcess:
    """Start ``work(*args)`` in a process of its own, here and with ``env``; it prints to ``log``.out and .err."""
    for suffix in (".out", ".err"):
        log.with_suffix(suffix).touch()
    process = FORKS.Process(target=_work, args=(work, args, log, dict(env), Path.cwd()))
    process.start()
    return process


def _work(work: Callable[..., Any], args: Sequence[Any], log: Path, env: dict[str, str], folder: Path) -> None:
    for stream, suffix in ((sys.stdout, ".out"), (sys.stderr, ".err")):
        with log.with_suffix(suffix).open("a") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    tempfile.tempdir = None  # env may name another
    torch.set_num_threads(1)  # tests share two cores
    work(*args)


def command_line_of(arguments: Sequence[str]) -> None:
    """What ``python train_net.py`` does with these arguments."""
    sys.argv = ["train_net.py"]
    command_line.main(arguments)


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Within the context runs draw no topologies and no report: half of the time of a short one."""
    with (
        patch("fbnetv5.report.html.render", return_value=""),
        patch("fbnetv5.jobs.derived.draw_topologies", lambda path, panels: Path(path).touch()),
    ):
        yield


def undrawn_command_line_of(arguments: Sequence[str]) -> None:
    """What ``python train_net.py`` does with these arguments, but for pictures."""
    with undrawn():
        command_line_of(arguments)


def interruptible(arguments: Sequence[str]) -> None:
    """The same, for Ctrl-C to end: children of a background command of a shell inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line_of(arguments)


def script(file: Path, *arguments: str | Path) -> None:
    """What ``python file arguments`` does."""
    sys.argv = [str(file), *map(str, arguments)]
    sys.path.insert(0, str(file.parent))
    runpy.run_path(str(file), run_name="__main__")


def run(
    work: Callable[..., Any], *args: Any, processes: int = 1, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run ``work(*args)`` to its end, in several processes as torchrun does: where one fails, the others are ended.

    ``timeout``, in seconds, is generous: it is for what hangs, not for what is slow.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with ranks_of(processes) as ranks:
            running = [start(work, *args, log=log, env={**os.environ, **rank}) for rank in ranks]
            deadline = time.monotonic() + timeout
            while (alive := [p.sentinel for p in running if p.is_alive()]) and not any(p.exitcode for p in running):
                if not multiprocessing.connection.wait(alive, max(0.0, deadline - time.monotonic())):
                    break
            hangs = bool(alive) and not any(p.exitcode for p in running)
            status = next((p.exitcode for p in running if p.exitcode), 0)
            for process in running:
                process.kill()
                process.join()
        out, err = (log.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        assert not hangs, f"{args} has not ended after {timeout} s:\n{out}\n{err}"
        return subprocess.CompletedProcess([], status, out, err)


@contextlib.contextmanager
def ranks_of(processes: int) -> Iterator[list[dict[str, str]]]:
    """Yield what torchrun tells each of several processes; one alone is told nothing."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if processes > 1 else None
    yield [_rank(rank, processes, store.port) if store else {} for rank in range(processes)]


def _rank(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process, which is to find the others through a store that is there already."""
    values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    values |= {"LOCAL_WORLD_SIZE": size, "TORCHELASTIC_USE_AGENT_STORE": True}
    values |= {"TORCHELASTIC_RESTART_COUNT": 0}
    return {key: str(value) for key, value in values.items()}


def two_ranks(work: Callable[..., Any], *args: Any) -> None:
    """Run ``work(rank, *args)`` in two processes; raises what one of them raised."""
    mp.start_processes(work, args, nprocs=2, start_method="forkserver")
