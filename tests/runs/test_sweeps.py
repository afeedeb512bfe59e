"""Sweeps: what is planned, what a failing, killed or interrupted job does to the others, and resuming."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.cli import launch as command_line
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.runs.batch_job import error_line
from fbnetv5.runs.launchers import LauncherConfig, split_launcher
from fbnetv5.runs.machine import gpus_for
from fbnetv5.runs.plan import plan_sweep, with_file_axes
from fbnetv5.runs.submitted import Submitted
from tests.jobs.runs import ROOT, arguments, environment, launch
from tests.on_request import ON_REQUEST
from tests.processes import interruptible, start

QUICKSTART = ROOT / "configs" / "quickstart.yaml"
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
BRIEF = (
    *("search.steps=2", "search.batch_size=8", "search.num_samples=2", "runtime.workers=0"),
    *("tasks.det=null", "search.last_look.candidates=0"),
)


def plan(*overrides, file=QUICKSTART):
    return plan_sweep(file, with_file_axes(file, overrides), command_line.run_job)


def test_a_plan_is_the_product_of_the_axes(tmp_path):
    jobs = plan("seed=0,1", "search.algorithm.cost_target=0.3,0.5", "search.steps=3", f"output={tmp_path}")
    assert [job.name for job in jobs] == [f"seed-{s}__cost_target-{c}" for s in (0, 1) for c in (0.3, 0.5)]
    config = load_config(QUICKSTART, jobs[2].work.overrides)
    assert (config.seed, config.search.algorithm["cost_target"], config.search.steps) == (1, 0.3, 3)
    assert Path(config.output) == jobs[2].folder == tmp_path / jobs[2].name


def test_folders_have_names_that_need_no_quotes_and_differ():
    jobs = plan("output='runs/it\\'s'", "model.topology=a/b.yaml,'a b.yaml',a-b.yaml", "data.shapes.seed=1", "seed=1,2")
    assert [job.name for job in jobs][::2] == [
        "topology-a-b.yaml__seed-1",
        "topology-a-b.yaml__seed-1_2",
        "topology-a-b.yaml__seed-1_3",
    ]
    assert all(load_config(QUICKSTART, job.work.overrides).output == str(job.folder) for job in jobs)
    assert next(job.name for job in plan("seed=1,2", "data.shapes.seed=3,4")) == "seed-1__data.shapes.seed-3"


def test_a_path_with_wildcards_is_the_axis_of_its_files(tmp_path, monkeypatch):
    for name in ("02_8.1M", "01 it's", "03"):
        (tmp_path / f"{name}.yaml").touch()
    jobs = plan(f"model.topology='{tmp_path}/0*.yaml'", "seed=1")
    found = [load_config(QUICKSTART, job.work.overrides).model.topology for job in jobs]
    assert found == [str(tmp_path / f"{name}.yaml") for name in ("01 it's", "02_8.1M", "03")]
    assert [job.name for job in jobs] == ["topology-01-it-s.yaml", "topology-02_8.1M.yaml", "topology-03.yaml"]
    with pytest.raises(InputError, match="there is no such file"):
        plan(f"model.topology={tmp_path}/x*.yaml")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [job.name for job in plan("model.topology=~/0*.yaml")] == [job.name for job in jobs]
    sweep = tmp_path / "sweep.yaml"
    params = {"model.topology": f"{tmp_path}/0?_*.yaml"}
    text = (
        f"# @package _global_\ndefaults: [/quickstart, _self_]\nhydra: {{sweeper: {{params: {json.dumps(params)}}}}}\n"
    )
    sweep.write_text(text)
    (tmp_path / "03_9M.yaml").touch()
    found = plan(file=sweep)
    assert [job.name for job in found] == ["topology-02_8.1M.yaml", "topology-03_9M.yaml"]


def test_axes_without_an_end_and_several_folders_are_refused():
    with pytest.raises(InputError, match=r"optimizer\.lr: an interval has no end of values"):
        plan("optimizer.lr=interval(0.01,0.1)")
    with pytest.raises(InputError, match="output is one folder, in which each job has its own"):
        plan("output=runs/a,runs/b", "seed=0,1")
    assert load_config(QUICKSTART, ["optimizer.lr=tag(log,interval(0.01,0.1))"], sweep=True).optimizer.lr == 0.01


@pytest.mark.parametrize(("visible", "gpus"), [("-1", []), ("NoDevFiles", []), ("0,2", ["0", "2"])])
def test_gpus_that_are_hidden_do_not_count(monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_for(RuntimeConfig()) == gpus


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_shipped_sweeps_load_and_have_axes(file):
    jobs = plan(file=file)
    assert len(jobs) >= 3
    assert len({job.folder for job in jobs}) == len(jobs)
    for job in jobs:
        load_config(file, job.work.overrides)


def test_the_command_line_goes_before_the_axes_of_the_file():
    seeds = ROOT / "configs" / "sweeps" / "seeds.yaml"
    assert [job.work.swept for job in plan("seed=7,8", file=seeds)] == [("seed=7",), ("seed=8",)]
    (only,) = plan("seed=7", file=seeds)
    assert load_config(seeds, only.work.overrides).seed == 7


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--multirun", "seed=0,-1"], "seed=-1 is too small"),
        (["--multirun", "search.stepz=1,2"], "unknown key 'search.stepz'"),
        (
            ["--multirun", "launcher=proceses"],
            "launcher=proceses is none of in-process, processes, slurm; did you mean",
        ),
        (["--multirun", "launcher.jbos=2"], "launcher.jbos"),
        (["--multirun", "launcher.jobs=0"], "launcher.jobs=0 is too small"),
        (["launcher=processes"], "add --multirun"),
        (["seed=0,1"], "seed has several values; --multirun runs them all"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(arguments, expected, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        command_line.main([f"--config={QUICKSTART}", *BRIEF, f"output={tmp_path / 'out'}", *arguments])
    assert exit_info.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert expected in line
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_sweep_does_not_write_into_a_run(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("name: mine\n")
    with pytest.raises(SystemExit):
        command_line.main([f"--config={QUICKSTART}", *BRIEF, f"output={tmp_path}", "--multirun", "seed=0,1"])
    assert f"{tmp_path} holds a run of its own: output=FOLDER" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_with_axes_wants_multirun(capsys):
    with pytest.raises(SystemExit):
        command_line.main([f"--config={ROOT / 'configs' / 'sweeps' / 'seeds.yaml'}"])
    assert "seed has several values; --multirun" in capsys.readouterr().err


def test_the_launcher_is_taken_out_of_the_overrides():
    launcher, rest = split_launcher(["seed=1", "launcher=slurm", "launcher.slurm.timeout_min=9", "launcher.jobs=3"])
    assert launcher == LauncherConfig("slurm", 3, {"timeout_min": 9})
    assert rest == ["seed=1"]


def test_an_error_is_one_line():
    assert error_line(0, "error: of a run that went on") == ""
    assert error_line(1, "step 1\nerror: no such file\n") == "no such file"
    assert error_line(1, "Traceback\n  File x\nRuntimeError: odd\n\n") == "RuntimeError: odd"
    assert error_line(-9, "") == "killed by SIGKILL (out of memory?)"
    assert error_line(3, "nothing") == "exit status 3"


@pytest.mark.slow
def test_jobs_on_two_processes_of_which_one_fails(tmp_path):
    """The second fails only when it runs; a second call, here in one process, runs it alone."""
    sweep = ("optimizer.lr=0.1,1e30", "optimizer.clip_norm=null", f"output={tmp_path}", *BRIEF, "--multirun")
    result = launch(*sweep, "launcher=processes", "launcher.jobs=2")
    assert result.returncode == 1
    assert len(list(tmp_path.glob("*/topology_seg.yaml"))) == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
    assert re.match(r"failed: optimizer.lr=1e\+30: the loss of task '\w+' is nan at step 1 .*lr-1e\+30\)$", line)
    assert "1 of 2 jobs finished, 1 failed" in result.stdout

    written = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/topology_seg.yaml")}
    again = launch(*sweep, "resume=true")
    assert again.returncode == 1
    earlier = {line.split()[0] for line in again.stdout.splitlines() if " earlier " in line}
    assert earlier == {file.parent.name for file in written}
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in written.items())


@pytest.mark.slow
@ON_REQUEST
def test_a_job_that_fails_in_this_process_does_not_end_the_others(tmp_path):
    rates = "optimizer.lr=1e30,0.1"
    result = launch("--multirun", rates, "optimizer.clip_norm=null", f"output={tmp_path}", *BRIEF)
    assert result.returncode == 1
    assert (tmp_path / "lr-0.1" / "topology_cls.yaml").exists()
    folder = tmp_path / "lr-0.1"  # the other wrote nothing but its configuration, which goes with it
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (float(config["optimizer"]["lr"]), config["output"]) == (0.1, str(folder))
    assert "1 of 2 jobs finished, 1 failed" in result.stdout
    taken = launch("--multirun", rates, f"output={tmp_path}", *BRIEF)
    assert f"{folder} holds a run already" in taken.stderr


@contextmanager
def started(*overrides: str, folder: Path, checkpoints: int) -> Iterator[BaseProcess]:
    """A sweep of long jobs on two processes, once ``checkpoints`` of them have written one."""
    given = ("--multirun", "launcher=processes", "launcher.jobs=2", f"output={folder}", *BRIEF, *overrides)
    sweep = start(interruptible, arguments(*given), log=folder.with_name("sweep"), env=environment())
    try:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("*/checkpoints/step-*"))) < checkpoints:
            assert sweep.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield sweep
    finally:
        sweep.kill()
        sweep.join()
        for number in processes_of(folder):
            os.kill(number, signal.SIGKILL)


def processes_of(folder: Path) -> list[int]:
    """The processes whose command line names ``folder``."""
    lines = {file.parent.name: file for file in Path("/proc").glob("[0-9]*/cmdline")}
    found = []
    for number, file in lines.items():
        try:
            if str(folder) in file.read_text() and int(number) != os.getpid():
                found.append(int(number))
        except OSError:
            continue
    return found


def left_of(folder: Path, seconds: float) -> list[int]:
    """What is left of the processes whose command line names ``folder``, that are given a while to end."""
    deadline = time.monotonic() + seconds
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return processes_of(folder)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_an_interrupt_ends_the_jobs(tmp_path):
    folder = tmp_path / "sweep"
    with started("seed=0,1", "search.steps=5000", folder=folder, checkpoints=2) as sweep:
        assert len(processes_of(folder)) >= 2
        os.kill(sweep.pid, signal.SIGINT)
        sweep.join(30)
        assert sweep.exitcode == 130
        assert "interrupted; resume=true goes on" in (tmp_path / "sweep.err").read_text()
        assert not left_of(folder, seconds=30)  # they end their step and write a checkpoint first


@pytest.mark.slow
@ON_REQUEST
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_job_that_is_killed_does_not_end_the_others(tmp_path):
    folder = tmp_path / "sweep"
    with started("seed=0,1", "search.steps=40", folder=folder, checkpoints=1) as sweep:
        os.kill(max(processes_of(folder / "seed-1")), signal.SIGKILL)
        sweep.join(200)
    assert sweep.exitcode == 1
    assert "failed: seed=1: killed by SIGKILL (out of memory?)" in (tmp_path / "sweep.out").read_text()
    assert (folder / "seed-0" / "topology_cls.yaml").exists()


@pytest.mark.slow
def test_slurm_jobs_through_submitits_local_executor(tmp_path):
    where = ("launcher=slurm", "launcher.cluster=local", "launcher.slurm.timeout_min=5")
    result = launch("--multirun", *where, "seed=0,1", f"output={tmp_path}", *BRIEF)
    assert result.returncode == 0, result.stderr
    records = [json.loads(record.read_text()) for record in tmp_path.rglob("job.json")]
    assert [record["status"] for record in records] == ["finished", "finished"]
    assert "2 of 2 jobs finished" in result.stdout


@pytest.mark.parametrize("gpus", ["a100:2", None])
def test_a_kind_of_gpu_in_their_number_is_refused_in_one_line(gpus, tmp_path):
    with pytest.raises(InputError, match=f"gpus_per_node={gpus} should be a whole number; the kind of GPU goes into"):
        Submitted(tmp_path, "slurm", {"gpus_per_node": gpus})


def test_a_run_ends_when_the_process_that_waits_for_it_does():
    command = [sys.executable, "-m", "fbnetv5.runs.child", "http.server", "--bind", "127.0.0.1", "0"]
    run = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), start_new_session=True
    )
    assert run.stdin is not None
    assert run.stdout is not None
    assert b"Serving" in run.stdout.readline()  # the module runs, with its arguments
    run.stdin.close()
    assert run.wait(10) == -signal.SIGTERM
