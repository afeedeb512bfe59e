"""Every job ends with its report."""

from __future__ import annotations

import json

import pytest

from tests.jobs.runs import launch
from tests.report.pages import Page

TRAINING = (
    "data.shapes.num_images=32",
    "data.shapes.num_val_images=8",
    "train.steps=4",
    "train.batch_size=8",
    "train.eval_every=2",
    "evaluate.num_drawn=4",
    "runtime.device=cpu",
    "runtime.workers=0",
    "runtime.log_every=2",
)


@pytest.mark.slow
@pytest.mark.parametrize(("job", "processes"), [("search", 2), ("pretrain", 1)])
def test_a_supernets_run_ends_with_its_report(job, processes, tmp_path):
    result = launch(
        f"job={job}",
        "search.steps=4",
        "runtime.log_every=2",
        f"output={tmp_path / 'run'}",
        processes=processes,
        draws=True,
    )
    assert result.returncode == 0, result.stderr[:3000]
    assert result.stdout.count(f"report: {tmp_path / 'run' / 'report.html'}") == 1
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "not finished" not in page.text
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert f"{records[-1]['loss/det']:.3g}" in page.texts["b"]
    assert ("Topologies" in page.texts["h2"]) == (job == "search")


@pytest.mark.slow
def test_a_training_ends_with_its_report(tmp_path):
    folder = tmp_path / "run"
    result = launch(*TRAINING, f"output={folder}", config="configs/train/cls/shapes.yaml", tiny=False, draws=True)
    assert result.returncode == 0, result.stderr[:3000]
    assert f"report: {folder / 'report.html'}" in result.stdout
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    written = json.loads((folder / "metrics.json").read_text())
    assert {written["metrics"]["top1"], written["model"]["macs"], written["model"]["params"]} <= set(page.data())
    assert [tag for tag, _ in page.elements if tag == "img"]
    assert {"Metrics", "Sample predictions", "Model", "Validation", "Losses"} <= set(page.texts["h2"])
