"""Several processes of one run: what each is told, how they end, and what of it is said."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from fbnetv5.base.lock import locked
from fbnetv5.cli.launch import launch
from fbnetv5.config.read import CONFIGS
from fbnetv5.runs import ranks
from fbnetv5.runs.process import interruptible
from fbnetv5.runs.ranks import Ranks

PLACES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "OMP_NUM_THREADS")
WAITING = """
import time
try:
    pathlib.Path(f"ready-{rank}").touch()
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.fixture(autouse=True)
def _interruptible():
    with interruptible():
        yield


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A function that makes a module of the code of each rank, and returns what runs it."""

    def make(code: str) -> list[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
        start = "import os, pathlib, signal, sys, time\nrank = int(os.environ['RANK'])\n"
        signals = "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        (tmp_path / "work_of_a_rank.py").write_text(start + signals + code)
        return ["work_of_a_rank", "one", "two"]

    return make


def wait_for(folder: Path) -> None:
    """Wait until two ranks are ready."""
    deadline = time.monotonic() + 60
    while not all((folder / f"ready-{rank}").exists() for rank in range(2)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def signalled(numbers: list[signal.Signals], folder: Path, both: Ranks) -> None:
    """Send signals to this process once both ranks are ready, each once the one before has arrived."""
    wait_for(folder)
    for number in numbers:
        os.kill(os.getpid(), number)
        while not both._is_told:
            time.sleep(0.01)


def test_each_rank_is_told_its_place(command, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ranks, "num_cores", lambda: 7)
    code = f"""
pathlib.Path(f"place-{{rank}}").write_text(" ".join([*(os.environ[name] for name in {PLACES}), *sys.argv[1:]]))
print("said by", rank)
"""
    with Ranks(2, command(code)) as both:
        assert both.wait() == 0
    assert (tmp_path / "place-0").read_text() == "0 0 2 2 127.0.0.1 3 one two"
    assert (tmp_path / "place-1").read_text() == "1 1 2 2 127.0.0.1 3 one two"
    assert capfd.readouterr() == ("said by 0\n", "")


def test_the_traceback_of_another_rank_is_shown(command, capfd):
    code = "if rank == 1:\n    raise ValueError('broken')\nsys.exit('error: rank 1 failed: ValueError: broken')"
    with Ranks(2, command(code)) as both:
        assert both.wait() == 1
    printed = capfd.readouterr().err
    assert printed.startswith("error: rank 1 failed: ValueError: broken\nrank 1 printed:\nTraceback")


@pytest.mark.parametrize("last", [0, 2])
def test_what_all_ranks_say_is_said_once_whichever_ends_last(last, command, capfd):
    with Ranks(3, command(f"time.sleep(0.5 * (rank == {last}))\nsys.exit('error: no such file')")) as all_of_them:
        assert all_of_them.wait() == 1
    assert capfd.readouterr().err == "error: no such file\n"


@pytest.mark.parametrize("first", [0, 1])
def test_a_rank_that_waits_for_a_failed_one_is_ended(first, command, capfd, monkeypatch):
    monkeypatch.setattr(ranks, "PATIENCE", 0.2)
    code = f"if rank == {first}:\n    os.kill(os.getpid(), signal.SIGKILL)\n" + WAITING
    with Ranks(2, command(code)) as both:
        assert both.wait() == 1
    assert capfd.readouterr().err == f"error: rank {first} was killed by SIGKILL (out of memory?)\n"


def test_what_a_rank_says_that_the_first_never_heard_is_shown(command, capfd):
    with Ranks(2, command("sys.exit('error: no such device' if rank else 0)")) as both:
        assert both.wait() == 1
    assert capfd.readouterr().err == "rank 1 printed:\nerror: no such device\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_all_ranks(number, command, tmp_path):
    before = signal.getsignal(number)
    with Ranks(2, command(WAITING)) as both:
        threading.Thread(target=signalled, args=([number], tmp_path, both)).start()
        assert both.wait() == 130
        assert not both.is_killed
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_them_at_once(command, tmp_path):
    code = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + WAITING
    with Ranks(2, command(code)) as both:
        threading.Thread(target=signalled, args=([signal.SIGINT, signal.SIGINT], tmp_path, both)).start()
        assert both.wait() == 130
        assert both.is_killed


def test_ranks_end_with_the_context(command, tmp_path):
    with Ranks(2, command(WAITING)) as both:
        wait_for(tmp_path)
    assert [process.returncode for process in both._processes] == [-signal.SIGKILL] * 2


def test_a_folder_in_use_is_refused_before_the_others_start(tmp_path, capsys):
    with locked(tmp_path), pytest.raises(SystemExit):
        launch(CONFIGS / "quickstart.yaml", [f"output={tmp_path}"], processes=2)
    assert "is in use" in capsys.readouterr().err


def test_processes_are_for_one_run_that_torchrun_did_not_start(monkeypatch, capsys):
    quickstart = CONFIGS / "quickstart.yaml"
    with pytest.raises(SystemExit):
        launch(quickstart, ["seed=0,1"], sweep=True, processes=2)
    assert capsys.readouterr().err.startswith("error: --processes is for one run")
    with pytest.raises(SystemExit):
        launch(quickstart, ["--procesess=2"])
    assert capsys.readouterr().err.startswith("error: --procesess=2: there is no such option")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        launch(quickstart, [], processes=2)
    assert capsys.readouterr().err.startswith("error: --processes starts processes itself")
