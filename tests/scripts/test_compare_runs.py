"""Correlations between searches, on probabilities written by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_runs.py"


def compare(*runs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, runs)], capture_output=True, text=True, check=False)


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    folders = []
    for name, (a, b) in {"0": ("0.1,0.5,0.9", "0.9,0.5,0.1"), "1": ("0.2,0.5,0.8", "0.8,0.5,0.2")}.items():
        folder = tmp_path / name
        folder.mkdir()
        header, first = "step,task,x,y,z", "10,a,0.5,0.5,0.5\n10,b,0.5,0.5,0.5"
        (folder / "probabilities.csv").write_text(f"{header}\n{first}\n20,a,{a}\n20,b,{b}\n")
        folders.append(folder)
    return folders


def test_agreement_within_and_between_tasks(runs):
    result = compare(*runs)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert rows == [["a", "1.00", "-1.00", "0.23"], ["b", "-1.00", "1.00", "0.23"]]


def test_a_folder_without_a_search(runs, tmp_path):
    result = compare(runs[0], tmp_path / "absent")
    assert result.returncode == 1
    assert "there is no such file" in result.stderr
