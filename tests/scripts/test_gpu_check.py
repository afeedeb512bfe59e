"""The check of a GPU, on a CPU with everything tiny."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.on_request import ON_REQUEST
from tests.processes import run, script

ROOT = Path(__file__).parents[2]


@ON_REQUEST
@pytest.mark.slow
def test_every_part_runs_or_says_why_not(tmp_path):
    file = tmp_path / "figures" / "check.json"
    done = run(script, ROOT / "scripts" / "gpu_check.py", "--device=cpu", "--tiny", f"--json={file}")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads(file.read_text())["parts"]
    search, batch_norm, eager, compiled, graphs = parts.values()
    assert search["status"] == "passed"
    assert search["error"] == 0  # a CPU beside itself
    for part in (batch_norm, graphs):
        assert part["status"] == "not possible"
        assert "GPU" in part["reason"] or "CUDA" in part["reason"]
    assert len(eager["rows"]) == len(compiled["rows"]) == 4, done.stdout
    assert all(row["images_per_second"] > 0 and row["macs"] > 1e6 for row in eager["rows"])
    assert all(name in done.stdout for name in (*parts, "images/s"))


def test_a_part_that_fails_is_told_and_the_others_run(monkeypatch):
    import gpu_check

    def broken() -> dict[str, object]:
        raise ValueError("of no use\nand more")

    assert gpu_check._run(broken, gpu_check.time.monotonic() + 9)["reason"] == "ValueError: of no use"
    late = gpu_check._run(lambda: gpu_check.time.sleep(9), gpu_check.time.monotonic())
    assert late["status"] == "not possible"
