"""What runs a job: this program itself, and hydra where a config or a key says how hydra does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fbnetv5.cli import launch
from fbnetv5.config.schema import RunConfig

PLAIN = "defaults: [/quickstart, _self_]\nname: x\n"
KEYED = f"{PLAIN}hydra: {{job: {{chdir: false}}}}\n"


@pytest.mark.parametrize(
    ("content", "overrides", "by_hydra"),
    [(PLAIN, ["seed=3"], False), (PLAIN, ["seed=3", "hydra.job.chdir=false"], True), (KEYED, ["seed=3"], True)],
)
def test_hydra_runs_what_says_how_hydra_does(tmp_path: Path, monkeypatch, content, overrides, by_hydra):
    (tmp_path / "x.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch.sys, "argv", ["train_net.py"])
    ran: list[RunConfig] = []
    handed: list[str] = []
    monkeypatch.setattr(launch, "run_job", ran.append)
    monkeypatch.setattr(launch.hydra, "main", lambda **_: lambda _: lambda: handed.extend(launch.sys.argv))
    launch.launch(tmp_path / "x.yaml", overrides)
    assert [(config.seed, config.output) for config in ran] == [(3, str(tmp_path / "runs" / "x"))] * (not by_hydra)
    assert ("seed=3" in handed) == by_hydra
