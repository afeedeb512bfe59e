"""Watch over the processes of a run: what ends one of them reaches the others, with its reason.

A process that waits in a collective for one that has failed would wait for ever. So each gives a sign of life about
once a second, through the store by which they found each other, from a thread of its own: work that takes long is no
silence. What has failed leaves its reason in the store. Who waits in vain reads it there, says it, and ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch.distributed as dist

from fbnetv5.base.errors import InputError, Interrupted

TIMEOUT = 20.0  # seconds; torchrun takes another 30 to end a process that is stopped
PATIENCE = 10  # times the timeout, for a process that may be busy, or of which this machine knows nothing
GRACE = 5.0  # seconds in which a process may end in order once it is known that another has failed
INTERRUPTED = "was interrupted"
BROKEN = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")


class Watch:
    """Signs of life of this process, and the watch over its neighbours: those of its machine, and the next rank.

    Args:
        store: by which the processes found each other; all of them make their watches in the same order.
        rank, size: of this process.
        timeout: seconds without a sign after which a process that is stopped ends the run; one that may be busy, or on
            another machine, has ten times that. One of this machine that is no more ends it at once.
    """

    def __init__(self, store: dist.Store, rank: int, size: int, timeout: float) -> None:
        self.rank, self.timeout = rank, timeout
        self.every = min(1.0, timeout / 5)
        number = store.add(f"fbnetv5/joined/{rank}", 1)  # a process may run one run after the other
        self._store, self._own = (dist.PrefixStore(f"fbnetv5/{number}", store.clone()) for _ in range(2))
        self._neighbours = _neighbours(rank, size)
        self._people: dict[int, tuple[str, int]] = {}  # rank: its host and process
        self._signs: dict[int, tuple[bytes, float]] = {}  # rank: its latest sign, and when it came
        self._heard = time.monotonic()  # when the store has answered
        self._reason: str | None = None
        self._left = threading.Event()
        self._store.set(f"process/{rank}", f"{os.getpid()} {socket.gethostname()}")

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        """Watch within the context.

        Raises:
            InputError: another process has failed, was stopped or killed; the message says which, and why.
        """
        for work in (self._give_signs, self._look):
            threading.Thread(target=work, name=f"fbnetv5-watch{work.__name__}", daemon=True).start()
        try:
            yield
        except BaseException as error:
            if reason := self._reason_behind(error):
                raise InputError(reason) from error
            raise
        finally:
            self._left.set()

    def last_step(self, done: int, *, asked: bool) -> int | None:
        """Return the step after which all processes end, if one of them was told to; all hear the same in time.

        Args:
            done: steps that this process has taken; none ends one that others have not begun, as gradients are summed.
            asked: whether this process was told to end.
        """
        if asked:
            self._own.compare_set("last", "", str(done + 1))  # another may have begun the next step already
        return int(self._own.get("last")) if self._own.check(["last"]) else None

    def _give_signs(self) -> None:
        """Give signs of life, and read those of others, until this process leaves."""
        count = 0
        while not self._left.wait(self.every):
            count += 1
            try:
                self._store.set(f"sign/{self.rank}", str(count))
                for rank in self._neighbours:
                    self._read(rank)
                if self._store.check(["failed"]):
                    self._reason = self._store.get("failed").decode()
            except RuntimeError:  # as torch tells that the store is gone
                self._reason = self._reason or "the store by which processes find each other is gone: its process ended"
                return
            self._heard = time.monotonic()

    def _read(self, rank: int) -> None:
        if rank not in self._people and self._store.check([f"process/{rank}"]):
            process, host = self._store.get(f"process/{rank}").decode().split(" ", 1)
            self._people[rank] = host, int(process)
        if self._store.check([f"sign/{rank}"]):
            sign = self._store.get(f"sign/{rank}")
            if rank not in self._signs or self._signs[rank][0] != sign:
                self._signs[rank] = sign, time.monotonic()

    def _look(self) -> None:
        """Look after the others, and end this process where one has failed and this one waits for it."""
        before = time.monotonic()
        while not self._left.wait(self.every):
            now = time.monotonic()
            if now - before > 2 * self.every:  # this process was stopped: what it has not heard says nothing
                self._heard = now
                self._signs = {rank: (sign, now) for rank, (sign, _) in self._signs.items()}
            before = now
            if reason := self._reason or self._missing(now):
                self._tell(reason)
                if not self._left.wait(GRACE):  # it waits in a collective that nothing can interrupt
                    print(f"error: {reason}", file=sys.stderr, flush=True)
                    os._exit(1)

    def _missing(self, now: float) -> str | None:
        """Return which process gives no sign of life any more, if there is one."""
        quiet = now - self._heard  # rank 0 may hold the store; and of a store that is quiet, no sign is heard
        for rank, (_, when) in self._signs.items():
            host, process = self._people[rank]
            state = _state(process) if host == socket.gethostname() else None
            seconds = max(now - when, quiet if rank == 0 else 0.0)
            if state == "gone" and seconds > 2 * self.every:
                return f"rank {rank} (process {process} on {host}) was killed"
            if state == "stopped" and seconds > self.timeout:
                return f"rank {rank} (process {process} on {host}) has been stopped for {seconds:.0f} s"
            if now - when > PATIENCE * self.timeout and quiet < self.timeout:
                return f"rank {rank} (process {process} on {host}) has given no sign of life for {seconds:.0f} s"
        if quiet > PATIENCE * self.timeout:
            return f"the store by which processes find each other has not answered for {quiet:.0f} s"
        return None

    def _reason_behind(self, error: BaseException) -> str | None:
        """Return why another process has failed, if that is what ``error`` comes from; else tell the others of it."""
        if isinstance(error, Interrupted):
            return None  # all processes have agreed to end
        is_broken = isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError) and any(word in str(error).lower() for word in BROKEN)
        )
        deadline = time.monotonic() + (4 * self.every + 1 if is_broken else 0)
        while True:
            with contextlib.suppress(RuntimeError):
                if self._own.check(["failed"]):
                    self._reason = self._own.get("failed").decode()
            reason = self._reason or (self._missing(time.monotonic()) if is_broken else None)
            if reason or time.monotonic() >= deadline:
                break
            time.sleep(self.every / 4)
        if is_broken:
            reason = reason or f"the connection to another process broke: {str(error).splitlines()[0][:300]}"
        if reason and (is_broken or (isinstance(error, KeyboardInterrupt) and not reason.endswith(INTERRUPTED))):
            self._tell(reason)
            return reason
        if isinstance(error, KeyboardInterrupt):
            self._tell(f"rank {self.rank} {INTERRUPTED}")
        else:
            said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self._tell(f"rank {self.rank} failed: {(said.strip().splitlines() or [''])[0]}")
        if self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):
            time.sleep(2 * self.every)  # the store ends with this process: others read it before
        return None

    def _tell(self, reason: str) -> None:
        """Leave a reason for the others, if there is none; a store that does not answer is not waited for."""

        def tell() -> None:
            with contextlib.suppress(RuntimeError):
                self._store.compare_set("failed", "", reason)

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        thread.join(1.0)


def _neighbours(rank: int, size: int) -> list[int]:
    """Return the ranks that one watches: of its machine, as torchrun tells them, the next, and the first."""
    local, count = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    near = range(rank - local, rank - local + count)
    return sorted(({*near, (rank + 1) % size, 0} & set(range(size))) - {rank})


def _state(process: int) -> str | None:
    """Return whether a process of this machine is gone or stopped; None where it is not, or nothing tells."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return "gone"
    except OSError:
        return None  # of another user, or no Linux
    return {"Z": "gone", "X": "gone", "T": "stopped", "t": "stopped"}.get(state)
