"""A process of a run that fails, is killed, stopped or cannot write: all end soon, and say why."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from fbnetv5.base.distributed import World, start_world
from fbnetv5.base.errors import one_line_errors
from fbnetv5.base.files import reported
from fbnetv5.engine.stopping import Stopping
from tests.processes import ranks_of, run, start

TIMEOUT = 1.0


def fails(world: World) -> None:
    """Raise what only a fault of the program raises."""
    raise KeyError("a fault")


def dies(world: World) -> None:
    """Die as from want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def halts(world: World) -> None:
    """Stop as for a debugger."""
    os.kill(os.getpid(), signal.SIGSTOP)


def finds_the_disk_full(world: World) -> None:
    """Write to a disk without space."""
    with reported(Path("metrics.jsonl")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


REASONS = {
    fails: "rank 1 failed: KeyError: 'a fault'",
    dies: "was killed",
    halts: "has been stopped for ",
    finds_the_disk_full: "rank 1 failed: cannot write metrics.jsonl: No space left on device",
}


def work(what: str, ready: Path) -> None:
    """Exchange numbers with the other process, as a run does, until the second one comes to harm."""
    by_name = {one.__name__: one for one in REASONS}
    with one_line_errors(), start_world("cpu", timeout=TIMEOUT) as world:
        for step in range(10_000):
            if step == 5 and world.rank == 1:
                time.sleep(3 * TIMEOUT / 5)  # both have given a sign of life
                (ready / str(os.getpid())).touch()
                by_name[what](world)
            assert world.gather(torch.tensor([world.rank])).tolist() == [0, 1]


@pytest.mark.parametrize("harm", REASONS, ids=lambda harm: harm.__name__)
def test_what_befalls_one_process_ends_the_others_with_its_reason(tmp_path, harm):
    began = time.monotonic()
    with ranks_of(2) as ranks:
        first, second = (
            start(work, harm.__name__, tmp_path, log=tmp_path / str(rank), env={**os.environ, **given})
            for rank, given in enumerate(ranks)
        )
        first.join(50)
        assert first.exitcode == 1
        second.kill()  # a stopped process ends when it is killed, by torchrun in our place
        second.join(10)
    assert time.monotonic() - began < 50
    said = (tmp_path / "0.err").read_text()
    assert "error: rank 1 " in said
    assert REASONS[harm] in said
    assert "Traceback" not in said


def leave_one_by_one(folder: Path) -> None:
    """Have less to do than the other: the first process works on when the second has ended its part."""
    with start_world("cpu", timeout=TIMEOUT, sums_gradients=False) as world:
        if world.is_main:
            time.sleep(2 * TIMEOUT)
        (folder / f"done-{world.rank}").touch()


def test_a_process_that_is_done_waits_for_the_others(tmp_path):
    with ranks_of(2) as ranks:
        running = [
            start(leave_one_by_one, tmp_path, log=tmp_path / str(rank), env={**os.environ, **given})
            for rank, given in enumerate(ranks)
        ]
        for process in running:
            process.join(50)
    assert [process.exitcode for process in running] == [0, 0]
    assert {path.name for path in tmp_path.glob("done-*")} == {"done-0", "done-1"}
    assert (tmp_path / "0.err").read_text() + (tmp_path / "1.err").read_text() == ""


def end_when_told(folder: Path) -> None:
    """Take steps until one of the processes, the second, is told to end."""
    with start_world("cpu", timeout=TIMEOUT) as world:
        stopping = Stopping(world)
        for done in range(1, 100):
            world.gather(torch.tensor([done]))
            stopping.is_asked = world.rank == 1 and done >= 3
            if stopping.agreed(done):
                (folder / f"ended-{world.rank}").write_text(str(done))
                return


def test_all_end_after_the_same_step_where_one_is_told_to(tmp_path):
    result = run(end_when_told, tmp_path, processes=2)
    assert result.returncode == 0, result.stderr
    assert [(tmp_path / f"ended-{rank}").read_text() for rank in (0, 1)] == ["4", "4"]
