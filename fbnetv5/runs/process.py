"""What processes of jobs share: their environment, where they print, and that they do not outlive who started them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
GRACE = 10.0  # seconds that a process has to end by itself


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
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


@contextlib.contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Within the context, what this process and its children print is appended to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = [os.dup(number) for number in (1, 2)]
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        _flush()
        for number, own in zip((1, 2), kept, strict=True):
            os.dup2(own, number)
            os.close(own)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the context, what is started can be interrupted, though a shell has started this process with ``&``."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_with(wait_for_parent: Callable[[], object]) -> None:
    """End the process group of this process, of which it is the leader, once ``wait_for_parent`` returns."""
    threading.Thread(target=_end_after, args=(wait_for_parent,), daemon=True).start()


def how_it_died(status: int | None) -> str:
    """Say in a few words how a process ended; ``status`` as subprocess gives it: negative for a signal."""
    if status is None or status >= 0:
        return f"its process ended with status {status}"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"killed by {signal.Signals(-status).name}{hint}"


def _end_after(wait_for_parent: Callable[[], object]) -> None:
    wait_for_parent()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)  # SIGTERM has ended this process, unless it ends children of its own first
    os.killpg(0, signal.SIGKILL)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
