"""The curve of a task's family: what a run wrote of it, and what a page shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markupsafe import escape

from fbnetv5.archs.topology import Topology
from fbnetv5.config.write import typed_path
from fbnetv5.report.family_chart import PLOT, family_chart
from fbnetv5.report.html import write_report
from fbnetv5.report.task_family import DERIVED, Member, TaskFamily, read_families, to_document
from tests.report.runs import write_search


def member(name: str, num_blocks: int, gain: float, file: str | None = None, latency_ms: float | None = None) -> Member:
    blocks = sorted(Topology.full(4).blocks)[:num_blocks]
    topology = Topology(4, frozenset(blocks), (2,))
    return Member(name, topology, 10**6 * (3 + num_blocks), 10**5, latency_ms, 2 - gain, gain, file)


def family(*, timed: bool = False) -> TaskFamily:
    times = [0.5 * count if timed else None for count in range(4)]
    members = [member(f"0{n}", n, gain, f"family_cls/0{n}.yaml", times[n]) for n, gain in enumerate((0, 1.5, 2))]
    others = [member(DERIVED, 2, 2, latency_ms=times[2]), member("full", 16, -0.5, latency_ms=times[3])]
    return TaskFamily("cls", "macs", members, others, "a phone, onnx 1.0" if timed else None)


def write(folder: Path, text: str) -> None:
    (folder / "family_cls").mkdir(exist_ok=True)
    (folder / "family_cls" / "family.json").write_text(text)


def test_a_family_is_read_as_it_was_written(tmp_path: Path):
    write(tmp_path, json.dumps(to_document(family(timed=True))))
    assert read_families(tmp_path) == {"cls": family(timed=True)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "cls", "unit": "macs", "members": [{}], "others": []}'])
def test_a_damaged_family_is_left_out(text: str, tmp_path: Path):
    write(tmp_path, text)
    assert read_families(tmp_path) == {}


@pytest.mark.parametrize("timed", [False, True])
def test_a_dot_lies_where_its_cost_and_its_gain_are(timed: bool):
    chart = family_chart(family(timed=timed), Path("runs/it's"))
    first, second, third, derived, full = chart.dots
    assert first.left < second.left < third.left == derived.left < full.left <= 100 * (PLOT[0] + PLOT[2])
    assert full.top > first.top > second.top > third.top == derived.top
    assert second.left - first.left == pytest.approx(third.left - second.left, abs=0.02)
    assert (first.top - second.top) / (second.top - third.top) == pytest.approx(3, rel=0.01)
    assert ("ms" in str(chart.svg), "MACs" in str(chart.svg)) == (timed, not timed)


def test_a_dot_says_how_its_topology_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my run"
    write_search(folder)
    write(folder, json.dumps(to_document(family())))
    page = write_report(folder).read_text()
    expected = {  # by command, topology: output
        ("train", "my run/family_cls/02.yaml"): "my run_family_cls_02",
        ("train", "my run/topology_cls.yaml"): "my run_topology_cls",
    }
    weights = "my run/model.safetensors"
    for (command, topology), output in expected.items():
        given = {"model.topology": topology, "model.weights": weights, "output": output}
        typed = " ".join(typed_path(key, path) for key, path in given.items())
        assert escape(f"fbnetv5 {command} CONFIG.yaml {typed}") in page
    start = f"{typed_path('model.topology', 'my run/topology_cls.yaml')} {typed_path('model.weights', weights)}"
    assert escape(f"fbnetv5 curve CONFIG.yaml {start}") in page
    assert page.count('class="dot ') == 5
