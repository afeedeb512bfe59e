"""A process that times exported files: ``python -m fbnetv5.latency.serve RUNTIME THREADS CLOCK``.

ExecuTorch has one pool of threads a process, made before anything is loaded, so files are timed in a process of their
own. It reads a line of JSON, ``{"file": ..., "shape": [...]}``, and answers with one: ``{"ms": ...}`` or
``{"error": ...}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.export.runtime import RUNTIMES, Runner

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
NUM_CALLS = 3  # of a turn, after one that is not timed


class Served:
    """Files that are loaded when they are first asked for.

    Args:
        runtime: of the files.
        threads: CPU threads.
        clock: returns seconds.
    """

    def __init__(self, runtime: str, threads: int, clock: Callable[[], float]) -> None:
        self.runtime = runtime
        self.threads = threads
        self.clock = clock
        self._loaded: dict[str, tuple[Runner, Tensor]] = {}

    def milliseconds(self, file: str, shape: Iterable[int]) -> float:
        """Return the median of :data:`NUM_CALLS` calls on an input of this shape, after one that is not timed.

        Raises:
            InputError: the runtime is not installed, or does not take the file.
        """
        if file not in self._loaded:
            image = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
            self._loaded[file] = RUNTIMES[self.runtime](Path(file), self.threads).runner, image
        run, image = self._loaded[file]
        run(image)
        seconds = []
        for _ in range(NUM_CALLS):
            start = self.clock()
            run(image)
            seconds.append(self.clock() - start)
        return 1e3 * statistics.median(seconds)


def main() -> None:
    """Serve until the other end closes."""
    runtime, threads, clock = sys.argv[1:]
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    served = Served(runtime, int(threads), CLOCKS[clock])
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        for line in sys.stdin:
            answers.write(json.dumps(_answer(served, json.loads(line))) + "\n")
            answers.flush()


def _answer(served: Served, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ms": served.milliseconds(asked["file"], asked["shape"])}
    except (InputError, RuntimeError) as error:
        return {"error": " ".join(str(error).split())}


if __name__ == "__main__":
    main()
