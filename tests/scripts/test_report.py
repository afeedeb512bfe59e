from __future__ import annotations

import subprocess
from pathlib import Path

from tests.jobs.runs import ROOT
from tests.processes import run, script
from tests.report.runs import write_search


def report(*folders: Path) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "scripts" / "report.py", *folders)


def test_the_script_writes_reports_and_names_what_is_no_run(tmp_path):
    write_search(tmp_path / "a")
    write_search(tmp_path / "b")
    result = report(tmp_path / "a", tmp_path / "b")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == [str(tmp_path / name / "report.html") for name in "ab"]
    assert (tmp_path / "a" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    result = report(tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {tmp_path}/config.yaml: there is no configuration")
