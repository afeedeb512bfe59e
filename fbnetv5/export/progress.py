"""How far an export is: what it does, and about how long the rest takes, told by a line now and then."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

from fbnetv5.engine.log import clock
from fbnetv5.export.quiet import unsilenced

T = TypeVar("T")
File = tuple[str, str]  # runtime and precision

SHARES = {  # time that a file takes, in that of ExecuTorch's in float32; measured on a detector of 159 convolutions
    ("executorch", "fp32"): 1.0,
    ("executorch", "int8"): 1.7,
    ("onnx", "fp32"): 0.2,
    ("onnx", "int8"): 0.35,
    ("litert", "fp32"): 1.0,
    ("litert", "int8"): 1.2,
    ("coreml", "fp32"): 0.6,
    ("coreml", "fp16"): 0.6,
    ("torchscript", "fp32"): 0.05,
}
SECONDS_A_LAYER = 0.3  # of ExecuTorch's in float32, on one core, until a file has been timed
TOLD_EVERY = 20.0  # seconds


class ExportProgress:
    """Tells how far an export is; a context in which a thread prints a line every ``every`` seconds.

    The time of files that are to come is estimated from those that were written, and for the first from the number of
    layers.

    Args:
        every: seconds between two lines.
        now: a clock in seconds.
    """

    def __init__(self, *, every: float = TOLD_EVERY, now: Callable[[], float] = time.monotonic) -> None:
        self.every = every
        self._now = now
        self._files: list[File] = []
        self._seconds_a_share = 0.0
        self._took: list[tuple[float, float]] = []  # share and seconds of each file that was written
        self._current: File | None = None
        self._began = now()
        self._step, self._count = "", ""
        self._ended = threading.Event()
        self._streams = contextlib.ExitStack()

    def __enter__(self) -> ExportProgress:
        stream = self._streams.enter_context(unsilenced())  # libraries are silenced while they convert
        self._thread = threading.Thread(target=self._tell, args=(stream,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._streams.close()

    def plan(self, files: Sequence[File], num_layers: int) -> None:
        """Say which files there will be, of a model of so many convolutions and products."""
        self._files = list(files)
        self._seconds_a_share = SECONDS_A_LAYER * num_layers

    def start_file(self, file: File) -> str:
        """Begin a file; return a line on it."""
        number = len(self._took) + 1
        self._current, self._began = file, self._now()
        own, whole = self._expected(file), self.seconds_left()
        rest = f", about {clock(whole)} for all that are left" if number < len(self._files) else ""
        return f"{file[0]} {file[1]}, file {number} of {len(self._files)}: about {clock(own)}{rest}"

    def end_file(self) -> None:
        """End the file that was begun."""
        if self._current is not None:
            self._took.append((SHARES[self._current], self._now() - self._began))
        self._current = None

    def step(self, name: str) -> None:
        """Say what is done now."""
        self._step, self._count = name, ""

    def over(self, name: str, items: Iterable[T], total: int) -> Iterator[T]:
        """Yield items of a step, counting them."""
        self.step(name)
        for number, item in enumerate(items):
            self._count = f" {number} of {total}"
            yield item

    def seconds_left(self) -> float:
        """Return about how long the files take that are not written, without what the current one has taken."""
        to_come = self._files[len(self._took) + (self._current is not None) :]
        left = sum(map(self._expected, to_come))
        if self._current is not None:
            left += max(0.0, self._expected(self._current) - (self._now() - self._began))
        return left

    def line(self) -> str:
        """Return what is done now, since when, and what is left."""
        left = f", about {clock(self.seconds_left())} left" if self._files and self.seconds_left() else ""
        return f"  {self._step}{self._count}, {clock(self._now() - self._began)} so far{left}"

    def _expected(self, file: File) -> float:
        """Return about how long a file takes: as those before it did, or longer where the current one does already."""
        shares, seconds = sum(share for share, _ in self._took), sum(took for _, took in self._took)
        rate = seconds / shares if shares else self._seconds_a_share
        if self._current is not None:
            rate = max(rate, (self._now() - self._began) / SHARES[self._current])
        return SHARES[file] * rate

    def _tell(self, stream: TextIO) -> None:
        while not self._ended.wait(self.every):
            if self._step:
                sys.stdout.flush()  # in the order in which lines were printed
                print(self.line(), file=stream, flush=True)
