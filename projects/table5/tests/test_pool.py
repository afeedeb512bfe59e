"""Workers that stay: what they answer, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5.pool import WorkerPool


def fail_or_die(job: str) -> None:
    print(f"doing {job}")
    if job == "wrong":
        raise InputError("what was wrong")
    if job == "bug":
        raise KeyError("a bug")
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "long":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)


@pytest.mark.slow
def test_workers_outlive_errors_and_are_replaced_when_they_die(tmp_path):
    ended = {}
    with WorkerPool(1, fail_or_die) as pool:
        for job in ("fine", "wrong", "bug", "die", "again"):
            pool.start(job, job, tmp_path / f"{job}.log")
            assert not pool.has_room
            ended[job] = pool.wait().error
        assert pool.has_room
        assert not pool.is_busy
    assert ended == {
        "fine": "",
        "wrong": "what was wrong",
        "bug": "KeyError: 'a bug'",
        "die": "killed by SIGKILL (out of memory?)",
        "again": "",
    }
    assert (tmp_path / "fine.log").read_text() == "doing fine\n"
    assert "Traceback" in (tmp_path / "bug.log").read_text()


def print_environment(job: str) -> None:
    print(job, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"])


@pytest.mark.slow
def test_workers_take_the_devices_in_turn(tmp_path):
    with WorkerPool(3, print_environment, threads=2, devices=("4", "7")) as pool:
        for job in "abc":
            pool.start(job, job, tmp_path / f"{job}.log")
        for _ in range(3):
            pool.wait()
    assert [(tmp_path / f"{job}.log").read_text() for job in "abc"] == ["a 4 2\n", "b 7 2\n", "c 4 2\n"]


def processes_of_group(group: int) -> list[int]:
    stats = [path.read_text().rsplit(")", 1)[1].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [int(stat[2]) for stat in stats if int(stat[2]) == group and stat[0] != "Z"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="lists processes by /proc")
def test_leaving_the_pool_ends_the_workers_and_what_they_started(tmp_path):
    with WorkerPool(1, fail_or_die) as pool:
        pool.start("long", "long", tmp_path / "long.log")
        group = pool._workers[0].process.pid
        deadline = time.monotonic() + 30
        while len(processes_of_group(group)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(processes_of_group(group)) >= 2
    assert processes_of_group(group) == []
