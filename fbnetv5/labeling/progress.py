"""The progress line of a labelling run: images done by all processes, images a second, and the time that is left."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fbnetv5.engine.log import clock


class LabelProgress:
    """Tells how far a run is: a bar in a terminal, else a line every ``every`` batches.

    Args:
        shown: whether to tell anything; the ranks other than 0 do not.
        num_images: of the run.
        done: images whose labels an earlier start has written.
        every: batches between two lines.
    """

    def __init__(self, *, shown: bool, num_images: int, done: int, every: int) -> None:
        self.shown = shown
        self.num_images = num_images
        self.every = every
        self._start = (time.perf_counter(), done)
        self._batches = 0
        self._console = Console(stderr=True, highlight=False)
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
        hidden = not (shown and self._console.is_terminal)
        self._bar = Progress(*columns, console=self._console, disable=hidden, transient=True)
        self._task = self._bar.add_task("", total=num_images, completed=done, status="")

    def due(self) -> bool:
        """Count a batch; whether it is one to tell of."""
        self._batches += 1
        return self.shown and (self._console.is_terminal or self._batches % self.every == 0)

    def show(self, done: int) -> None:
        """Tell that the labels of ``done`` images are there."""
        if not self.shown:
            return
        started, first = self._start
        speed = (done - first) / max(1e-9, time.perf_counter() - started)
        left = f"ETA {clock((self.num_images - done) / speed)}" if speed else ""
        status = f"{speed:.1f} images/s  {left}"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, status=status)
        else:
            self._console.print(f"image {done}/{self.num_images}  {status}", markup=False, soft_wrap=True)

    def __enter__(self) -> LabelProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
