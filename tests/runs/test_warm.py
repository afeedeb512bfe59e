"""Processes that stay: how jobs end in them, one that dies, and that nothing of them is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.runs.graph import Known, run_graph
from fbnetv5.runs.job import Call, Job
from fbnetv5.runs.warm import WarmProcesses


def never(name: str) -> bool:
    return False


def fail_or_die(name: str) -> None:
    print(f"doing {name}")
    if name == "wrong":
        raise InputError("what was wrong")
    if name == "bug":
        raise KeyError("a bug")
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "long":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)


def jobs(folder: Path, *names: str, function=fail_or_die) -> list[Job]:
    return [Job(name, Call(function, name, never), folder) for name in names]


@pytest.mark.slow
def test_one_that_dies_loses_no_other_job(tmp_path):
    names = ("fine", "wrong", "bug", "die", "again", "more")
    with WarmProcesses(2) as place:
        outcomes = run_graph(lambda _: Known(jobs(tmp_path, *names)), place)
    assert {name: outcomes[name].error for name in names} == {
        "fine": "",
        "wrong": "what was wrong",
        "bug": "KeyError: 'a bug'",
        "die": "killed by SIGKILL (out of memory?)",
        "again": "",
        "more": "",
    }
    assert (tmp_path / "fine.log").read_text() == "doing fine\n"
    assert "Traceback" in (tmp_path / "bug.log").read_text()


@pytest.mark.slow
def test_one_that_dies_between_two_jobs_is_replaced(tmp_path):
    def kill_the_idle(*_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    with WarmProcesses(1) as place:
        outcomes = run_graph(lambda _: Known(jobs(tmp_path, "fine", "more")), place, kill_the_idle)
    assert {name: outcome.error for name, outcome in outcomes.items()} == {"fine": "", "more": ""}


def print_environment(name: str) -> None:
    print(name, os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"])


@pytest.mark.slow
def test_processes_take_the_devices_in_turn(tmp_path):
    with WarmProcesses(3, threads=2, devices=("4", "7")) as place:
        run_graph(lambda _: Known(jobs(tmp_path, *"abc", function=print_environment)), place)
    assert [(tmp_path / f"{name}.log").read_text() for name in "abc"] == ["a 4 2\n", "b 7 2\n", "c 4 2\n"]


def group_of_job(log: Path) -> int:
    """The process group that a long job runs in, once it has started a child."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in multiprocessing.active_children():
            if log.exists() and len(processes_of_group(child.pid)) >= 2:
                return child.pid
        time.sleep(0.05)
    raise AssertionError("the job has started no child")


def processes_of_group(group: int | None) -> list[int]:
    stats = [path.read_text().rsplit(")", 1)[1].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [int(stat[2]) for stat in stats if int(stat[2]) == group and stat[0] != "Z"]


def parent(folder: str) -> None:
    """What a process does whose end must be that of its jobs."""
    with WarmProcesses(1) as place:
        place.start(jobs(Path(folder), "long"))
        print(group_of_job(Path(folder) / "long.log"), flush=True)
        place.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="lists processes by /proc")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_jobs_end_with_their_parent_however_it_ends(tmp_path, number):
    code = f"from tests.runs.test_warm import parent; parent({str(tmp_path)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    group = int(process.stdout.readline())
    process.send_signal(number)
    process.wait(30)
    deadline = time.monotonic() + 5
    while processes_of_group(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of_group(group) == []


def hold_a_semaphore(name: str) -> None:
    """What libraries keep as long as a process lives, as tqdm does."""
    kept.append(multiprocessing.get_context("spawn").RLock())


kept: list[object] = []
LEAK = """
from pathlib import Path
from tests.runs import test_warm as t

if __name__ == "__main__":
    with t.WarmProcesses(1) as place:
        t.run_graph(lambda _: t.Known(t.jobs(Path("logs"), "held", function=t.hold_a_semaphore)), place)
"""


def test_idle_processes_give_back_what_libraries_hold(tmp_path):
    (tmp_path / "leak.py").write_text(LEAK)
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    given = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run([sys.executable, "leak.py"], cwd=tmp_path, env=given, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
