"""The benchmark of a search's iteration, run with everything tiny."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from tests.on_request import ON_REQUEST
from tests.processes import run, script

ROOT = Path(__file__).parents[2]
TINY = (
    "model.num_stages=2",
    "data.shapes.size=64",
    "data.short_side=64",
    "data.crop=64",
    "search.batch_size=8",
    "search.num_samples=2",
    "runtime.device=cpu",
)
FEW = ("--tasks=1,4", "--repeats=1", "--architectures=4", "--comparisons=1", "--algorithm-tasks=2")

pytestmark = pytest.mark.slow


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "scripts" / "bench_search_step.py", *arguments)


@ON_REQUEST
def test_every_part_runs_and_is_printed(tmp_path):
    done = bench(*TINY, *FEW, f"--json={tmp_path / 'figures.json'}")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())

    counts = figures["task_counts"]
    assert [row["num_tasks"] for row in counts] == [1, 4]
    assert 0 < counts[0]["heads"] < counts[1]["heads"]  # the first task is classification, the cheapest head
    assert all(row["peak"] >= row["before"] > 2**20 for row in figures["memory"])

    family = get_family("NANO")
    blocks = {row["num_blocks"]: row["macs"] for row in figures["architectures"]}
    trunk = network_cost(family, Topology(2, frozenset()), (64, 64)).macs
    assert blocks[0] == trunk < min(macs for num_blocks, macs in blocks.items() if num_blocks)
    assert [row["name"] for row in figures["comparisons"]] == ["no block", "all blocks", "drawn 1"]
    assert figures["comparisons"][0]["num_blocks"] == 0

    for title in ("by number of tasks", "by architecture", "geometric mean", "Peak memory"):
        assert title in done.stdout


def test_a_wrong_key_is_one_line():
    done = bench("model.famly=A")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "famly" in done.stderr
    assert len(done.stderr.splitlines()) == 1
