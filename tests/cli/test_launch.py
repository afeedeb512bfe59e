"""What runs a job: this program itself, and hydra where a config or a key says how hydra does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fbnetv5.cli import launch
from fbnetv5.config.schema import RunConfig

PLAIN = "defaults: [/quickstart, _self_]\nname: x\n"
KEYED = f"{PLAIN}hydra: {{job: {{chdir: false}}}}\n"


@pytest.mark.parametrize(
    ("content", "overrides", "by_hydra"),
    [(PLAIN, ["seed=3"], False), (PLAIN, ["seed=3", "hydra.job.chdir=false"], True), (KEYED, ["seed=3"], True)],
)
def test_a_run_is_the_same_by_hydra_and_without(tmp_path: Path, monkeypatch, content, overrides, by_hydra):
    (tmp_path / "x.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    ran: list[RunConfig] = []
    composed: list[Any] = []
    monkeypatch.setattr(launch, "run_job", ran.append)
    original = launch.hydra.main
    monkeypatch.setattr(launch.hydra, "main", lambda **given: composed.append(given) or original(**given))
    launch.launch(tmp_path / "x.yaml", overrides)
    (config,) = ran
    assert (config.seed, config.output) == (3, str(tmp_path / "runs" / "x"))
    assert bool(composed) == by_hydra
