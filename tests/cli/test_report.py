"""``fbnetv5 report``: the pages of runs, and what is no run."""

from __future__ import annotations

import pytest

from fbnetv5.cli import commands
from tests.report.runs import write_search


def test_the_command_writes_reports_and_names_what_is_no_run(tmp_path, capsys):
    write_search(tmp_path / "a")
    write_search(tmp_path / "b")
    commands.main(["report", str(tmp_path / "a"), str(tmp_path / "b")])
    assert capsys.readouterr().out.split() == [str(tmp_path / name / "report.html") for name in "ab"]
    assert (tmp_path / "a" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(SystemExit):
        commands.main(["report", str(tmp_path)])
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith(f"error: {tmp_path}/config.yaml: there is no configuration")
