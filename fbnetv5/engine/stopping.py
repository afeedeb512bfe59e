"""Ctrl-C and SIGTERM while a run trains: the step ends, a checkpoint is written, then the run does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

import torch

from fbnetv5.base.distributed import World

TAKEN = (signal.SIGINT, signal.SIGTERM)
TOLD = b"\nending after this step, with a checkpoint; Ctrl-C again ends at once\n"


class Stopping:
    """A context that takes down whether this process was told to end, by Ctrl-C or SIGTERM.

    Signals that somebody else handles already are left alone. Alone, a second Ctrl-C ends the process at once; of
    several processes, which hear from whoever started them, further signals mean nothing.

    Args:
        world: the processes of the run.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_asked = False
        self._process = os.getpid()
        self._previous: dict[signal.Signals, Any] = {}

    def agreed(self, done: int) -> bool:
        """Whether the run ends after ``done`` steps, as any of its processes was told to; all hear the same.

        Alone, a process ends at once; of several, the one that was told lets the others finish the next step.
        """
        if self.world.size == 1:
            return self.is_asked
        if self.world.watch is None:
            return bool(self.world.gather(torch.tensor([int(self.is_asked)])).any())
        last = self.world.watch.last_step(done, asked=self.is_asked)
        return last is not None and done >= last

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in TAKEN:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._previous[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data loader's process, which ends when this one does
            return
        if self.is_asked and number == signal.SIGINT and self.world.size == 1:
            raise KeyboardInterrupt
        first, self.is_asked = not self.is_asked, True
        if first and self.world.is_main:
            with contextlib.suppress(OSError):  # of a terminal that was closed
                os.write(2, TOLD)  # print is not for signal handlers
