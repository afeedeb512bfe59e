"""Networks of a table of truth by their files' milliseconds: none is exported, and a stand-in tells the time."""

from __future__ import annotations

import contextlib

import pytest

from fbnetv5.export.lowered import Lowered
from fbnetv5.projects.table5 import milliseconds
from fbnetv5.projects.table5.milliseconds import Time, keep, main, read_times
from fbnetv5.projects.table5.tests.test_truth import MINI, load
from fbnetv5.projects.table5.truth_table import Row, write_rows

MS = {"linear": 1.0, "unet": 4.0, "fpn": 4.0, "0f": 3.0, "08": 2.0, "ff": 5.0}  # unet and fpn are one network
SCORES = {"linear": (0.5, 0.5), "unet": (0.6, 0.6), "0f": (0.65, 0.63), "08": (0.52, 0.52), "ff": (0.9, 0.9)}


@pytest.fixture
def timed(monkeypatch):
    """Files that are named, not exported, and a timer that knows their times, by the numbers of topologies."""
    times = {**MS, "0000": MS["linear"], "1248": MS["unet"]}

    @contextlib.contextmanager
    def opened_timer(options, runtime, threads):
        yield lambda file: times[file.path.stem]

    monkeypatch.setattr("fbnetv5.latency.bundle.Converter.convert", lambda *arguments: Lowered(b"a file"))
    monkeypatch.setattr(milliseconds, "opened_timer", opened_timer)


def test_each_hand_made_topology_stands_beside_the_slowest_found_one_within_its_time(tmp_path, timed, capsys):
    pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    plan = load(tmp_path, train={"cls": MINI["train"]["cls"]}).plan
    rows = [Row("cls", name, 1, seed, score) for name, own in SCORES.items() for seed, score in enumerate(own)]
    write_rows(tmp_path / "truth.csv", rows, plan.settings)
    found = [f"0,multitask,cls,,{place},{name},1" for place, name in enumerate(("0f", "08", "ff", "linear"))]
    (tmp_path / "found.csv").write_text("\n".join(["seed,method,task,under,place,topology,macs", *found]) + "\n")
    arguments = ["--truth", str(tmp_path / "mini.yaml"), "--found", str(tmp_path / "found.csv"), "--repeats", "2"]
    main([*arguments, "--times", str(tmp_path / "ms.csv")])
    out = capsys.readouterr().out
    assert "| linear | 1.00 | 50.0 ± 0.0 | linear | 1.00 | 50.0 ± 0.0 | +0.0 (+0.0 to +0.0) |" in out
    assert "| unet | 4.00 | 60.0 ± 0.0 | 0f | 3.00 | 64.0 ± 1.4 | +4.0 (-8.7 to +16.7) |" in out
    assert "1.00 ms 50.0 ± 0.0, 2.00 ms 52.0 ± 0.0, 3.00 ms 64.0 ± 1.4, 5.00 ms 90.0 ± 0.0" in out
    times = read_times(tmp_path / "ms.csv")
    assert {time.topology: time.ms for time in times} == MS
    assert "onnx" in times[0].conditions
    assert "1 thread(s), fp32, 1 image(s) of 64 x 64" in times[0].conditions


def test_times_of_other_conditions_and_tasks_stay(tmp_path):
    file = tmp_path / "ms.csv"
    keep(file, [Time("a phone", "cls", "unet", 1.0, 0.1), Time("a phone", "cls", "0f", 2.0, 0.1)])
    keep(file, [Time("a phone", "seg", "unet", 3.0, 0.1), Time("here", "cls", "unet", 4.0, 0.1)])
    keep(file, [Time("a phone", "cls", "unet", 5.0, 0.1)])
    assert [(time.conditions, time.task, time.ms) for time in read_times(file)] == [
        ("a phone", "seg", 3.0), ("here", "cls", 4.0), ("a phone", "cls", 5.0),
    ]  # fmt: skip
