"""Runs that end early: what they keep, what they say of it, and whose their folder is then."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.cli.kept import release, what_is_kept
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from tests.jobs.runs import ROOT, TINY, arguments, launch, metrics
from tests.on_request import ON_REQUEST
from tests.processes import interruptible, start

QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def interrupted(folder: Path, number: signal.Signals, *overrides: str) -> tuple[int | None, str]:
    """Start a search, send it a signal once it has taken some steps; return its status and what it said."""
    log = folder.parent / "log"
    given = arguments("search.steps=5000", "runtime.log_every=1", f"output={folder}", *overrides)
    process = start(interruptible, given, log=log, env=dict(os.environ))
    deadline = time.monotonic() + 240
    while not (folder / "metrics.jsonl").exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(120)
    status = process.exitcode
    process.kill()  # it has ended, unless the test fails
    return status, log.with_suffix(".err").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "given"),
    [(signal.SIGINT, "--processes=2"), (signal.SIGTERM, "runtime.workers=1")],
    ids=["SIGINT, two processes", "SIGTERM"],
)
def test_a_run_that_is_told_to_end_writes_a_checkpoint_that_another_start_goes_on_from(tmp_path, number, given):
    folder = tmp_path / "run"
    status, said = interrupted(folder, number, "runtime.checkpoint_every=4000", given)
    assert status == 130
    assert "error" not in said
    (checkpoint,) = (folder / "checkpoints").iterdir()
    step = int(checkpoint.name.removeprefix("step-"))
    assert f"interrupted; resume=true goes on from step {step}, whose checkpoint is written" in said
    assert metrics(folder)[-1]["step"] == step
    again = launch(
        "search.steps=5000", "runtime.log_every=1", f"output={folder}", "resume=true", f"search.steps={step + 1}"
    )
    assert "was 5000, is now" in again.stderr  # it is this checkpoint that it found


def test_a_start_that_wrote_nothing_but_its_config_leaves_no_claim(tmp_path):
    folder = tmp_path / "run"
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"damaged")
    (tmp_path / "labels.csv").write_text("file_name,label\na.png,x\nb.png,y\n")
    files = ["data.train.images=images", "data.train.labels=labels.csv", f"data.root={tmp_path}"]
    given = [*TINY, "tasks.det=null", "tasks.seg=null", f"output={folder}", *files, "search.last_look.candidates=0"]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"[ab]\.png"):
            run_job(load_config(QUICKSTART, given))
        assert not folder.exists()


def test_what_a_run_has_written_stays(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "metrics.jsonl").touch()
    release(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "metrics.jsonl"}


def test_a_failed_start_leaves_what_was_there(tmp_path):
    """As in a folder for a run, with the config that one wrote for it."""
    mine = tmp_path / "config.yaml"
    mine.write_text("name: mine\n")
    with pytest.raises(InputError, match="holds a run already"):
        run_job(load_config(QUICKSTART, [*TINY, f"output={tmp_path}"]))
    assert mine.read_text() == "name: mine\n"


def test_no_empty_folders_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine" / "predict" / "photos").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.json").touch()
    release(Path("runs/mine/predict/photos"))
    assert {path.name for path in (tmp_path / "runs" / "mine").iterdir()} == {"config.json"}


def test_what_is_said_to_be_kept_is_there(tmp_path):
    assert "nothing is kept" in what_is_kept(RunConfig(job="train"), tmp_path)
    assert "nothing is kept" in what_is_kept(RunConfig(job="label"), tmp_path)
    (tmp_path / "shards" / "00000").mkdir(parents=True)
    assert "not labelled yet" in what_is_kept(RunConfig(job="label"), tmp_path)
    for step in (40, 120):
        (tmp_path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    assert "goes on from step 120" in what_is_kept(RunConfig(job="train"), tmp_path)


@pytest.mark.slow
def test_resume_without_a_checkpoint_says_that_it_starts_anew(tmp_path):
    said = launch("search.steps=1", "resume=true", f"output={tmp_path / 'run'}").stderr
    assert "resume=true, but" in said
    assert "has no checkpoint: starting anew" in said


@ON_REQUEST
@pytest.mark.slow
def test_one_photo_and_a_folder_with_a_damaged_one_are_predicted(tmp_path):
    """A trained model, by the command line: the damaged one is counted, and no retry is refused."""
    model = tmp_path / "model"
    training = ["train.steps=1", "train.batch_size=4", "data.shapes={num_images: 16, num_val_images: 4, size: 64}"]
    small = [*training, "data.short_side=64", "data.crop=64", "runtime.workers=0"]
    shown = launch(*small, f"output={model}", config="configs/train/cls/shapes.yaml", tiny=False)
    assert shown.returncode == 0, shown.stderr
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (80, 60), (200, 30, 30)).save(photos / "good.jpg")
    (photos / "cut.jpg").write_bytes((photos / "good.jpg").read_bytes()[:300])
    for name, images, said in (("a", photos, "1 of 2 images could not be read"), ("b", photos / "good.jpg", "")):
        given = [f"evaluate.model={model}", f"evaluate.images={images}", f"output={tmp_path / name}"]
        result = launch(*given, "runtime.workers=0", config="configs/evaluate.yaml", tiny=False)
        assert result.returncode == 0, result.stderr
        assert said in result.stderr
        table = (tmp_path / name / "predictions" / "predictions.csv").read_text()
        assert table.count(".jpg") == 1
    refused = [f"evaluate.model={model}", f"evaluate.images={photos / 'cut.jpg'}", f"output={tmp_path / 'c'}"]
    for _ in range(2):
        result = launch(*refused, config="configs/evaluate.yaml", tiny=False)
        assert "none of the 1 images could be read" in result.stderr
        assert not (tmp_path / "c").exists()
