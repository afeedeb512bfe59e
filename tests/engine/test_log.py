"""A run's log: means, files that a resumed run goes on with."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fbnetv5.config.schema import RunConfig
from fbnetv5.engine import log as log_module
from fbnetv5.engine.log import RunLog, clock
from fbnetv5.engine.loggers.logger import open_loggers


def run_log(folder: Path, start_step: int = 0) -> RunLog:
    loggers = open_loggers(RunConfig(name="walk"), folder, start_step)
    return RunLog(folder, num_steps=6, batch_size=8, every=3, start_step=start_step, loggers=loggers)


def test_the_log_writes_means_and_goes_on_where_it_stopped(tmp_path):
    log = run_log(tmp_path)
    for step, value in enumerate((1.0, 2.0, 6.0, 10.0), start=1):
        log.add({"loss/a": value} | ({"loss/b": 5.0} if step == 2 else {}))
        if log.due(step):
            log.record(step)
            log.probabilities(step, {"a": [0.25, 0.75]}, ["first", "second"])
    state = log.state_dict()
    log.add({"loss/a": 99.0})
    log.record(6)  # will be cut: the checkpoint is of step 4
    log.close()
    resumed = run_log(tmp_path, start_step=4)
    resumed.load_state_dict(state)
    resumed.add({"loss/a": 20.0})
    resumed.record(6)
    resumed.close()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["loss/a"], r.get("loss/b")) for r in records] == [(3, 3.0, 5.0), (6, 15.0, None)]
    assert (tmp_path / "probabilities.csv").read_text().splitlines() == [
        "step,task,first,second",
        "3,a,0.250000,0.750000",
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_clock():
    assert [clock(s) for s in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]


@pytest.mark.parametrize("left", ["", "step,ta", "step,task,first,second", "step,task,first,second\n9,a,0.1,"])
def test_probabilities_have_a_header_after_a_kill_at_their_first_line(tmp_path, left):
    (tmp_path / "probabilities.csv").write_text(left)
    log = run_log(tmp_path)
    for step in (1, 2):
        log.probabilities(step, {"a": [0.25, 0.75], "b": [0.5, 0.5]}, ["first", "second"])
    log.close()
    lines = (tmp_path / "probabilities.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["step", "task"], *([s, t] for s in "12" for t in "ab")]


def test_a_narrow_terminal_shows_how_far_the_run_is_and_what_is_left(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(log_module, "Console", lambda *_, **__: Console(file=screen, force_terminal=True, width=80))
    shown = run_log(tmp_path)
    shown.add({"loss/cls": 1.842, "loss/det": 2.227, "loss/seg": 0.7989, "lr": 0.01, "arch_lr": 0.4})
    shown.record(3)
    shown._bar.refresh()
    shown.close()
    assert "1/6" in screen.getvalue()
    assert "ETA 0:00:0" in screen.getvalue()
    assert "loss/cls 1.842" in screen.getvalue()
