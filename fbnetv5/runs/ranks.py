"""One run in several processes of this machine, which find each other as those that torchrun starts.

    with Ranks(4, ["fbnetv5.cli.launch", "--config=my.yaml"]) as ranks:
        status = ranks.wait()

It imports little, as all it does is wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO, Any

from fbnetv5.runs.machine import num_cores
from fbnetv5.runs.process import THREADS, how_it_died

FORWARDED = (signal.SIGINT, signal.SIGTERM)
EVERY = 0.1  # seconds between looks
PATIENCE = 30.0  # seconds in which the others hear of one that has failed, and say so
INTERRUPTED = 128 + signal.SIGINT  # as shells have it


class Ranks:
    """A context in which a module runs in ``count`` processes, as its main one; none of them outlives it.

    Rank 0 prints here. What the others print is shown at the end if it tells more than rank 0 did. Ctrl-C and SIGTERM
    go to all of them; a second one ends them at once.

    Args:
        count: at least 1.
        command: the module's name and its arguments.
    """

    def __init__(self, count: int, command: Sequence[str]) -> None:
        self.count = count
        self.is_killed = False
        self._command = [sys.executable, "-m", "fbnetv5.runs.child", *command]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._printed: list[IO[bytes]] = []  # by the ranks behind the first
        self._previous: dict[signal.Signals, Any] = {}
        self._is_told = False

    def wait(self) -> int:
        """Wait until all have ended; return the exit status of the run: the first that is not 0."""
        failed: dict[int, int] = {}
        deadline: float | None = None
        while None in [process.poll() for process in self._processes]:  # each of them is asked
            if deadline is None and self._failed():
                deadline = time.monotonic() + PATIENCE
            if deadline is not None and time.monotonic() > deadline:
                failed = failed or self._failed()  # of those that are killed now none fails by itself
                self._kill()
            time.sleep(EVERY)
        failed = failed or self._failed()
        if failed and self._is_told:
            self.is_killed = self.is_killed or self._processes[0].returncode < 0
            return INTERRUPTED
        self._tell(failed)
        return next((max(status, 1) for status in failed.values()), 0)

    def __enter__(self) -> Ranks:
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            for number in FORWARDED:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._forward)
            port = _free_port()
            for rank in range(self.count):
                self._start(rank, port)
            if self._is_told:  # by a signal that did not reach all of them
                self._kill()
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _start(self, rank: int, port: int) -> None:
        printed = None
        if rank > 0:
            printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
            self._printed.append(printed)
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.count, "LOCAL_WORLD_SIZE": self.count}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        share = str(max(1, num_cores() // self.count))
        threads = {name: os.environ.get(name, share) for name in THREADS}
        variables = {name: str(value) for name, value in {**places, **meeting, **threads}.items()}
        self._processes.append(
            subprocess.Popen(
                self._command,
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,  # which ends with this process, and they with it
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        )

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._is_told:
            self.is_killed = True
            self._kill()
        self._is_told = True
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def _failed(self) -> dict[int, int]:
        """Return the status of each rank that has ended with another one than 0."""
        return {rank: process.returncode for rank, process in enumerate(self._processes) if process.returncode}

    def _kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if sys.stderr.isatty():
            print("\x1b[?25h", end="", file=sys.stderr, flush=True)  # the cursor, which progress bars hide

    def _tell(self, failed: dict[int, int]) -> None:
        """Say what rank 0 cannot have said: how ranks died, and where another one broke."""
        for rank in sorted(failed):
            if failed[rank] < 0:
                print(f"error: rank {rank} was {how_it_died(failed[rank])}", file=sys.stderr)
            text = self._text(rank)
            if "Traceback (most recent call last)" in text or (text and 0 not in failed):
                print(f"rank {rank} printed:\n{text}", file=sys.stderr)
                return

    def _text(self, rank: int) -> str:
        """Return what a rank has printed, if it was not printed here."""
        if rank == 0:
            return ""
        printed = self._printed[rank - 1]
        printed.seek(0)
        return printed.read().decode(errors="replace").rstrip()

    def _end(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if None in [process.poll() for process in self._processes]:
            self._kill()
        for process in self._processes:
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        for printed in self._printed:
            printed.close()


def _free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
