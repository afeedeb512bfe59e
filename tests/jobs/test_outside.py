"""What comes from outside and cannot be meant: one line within a second or two, before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from fbnetv5.base.lock import LOCK, locked
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs import search
from tests.base.test_documents import BOMB
from tests.jobs.runs import TINY, launch
from tests.jobs.test_bad_input import QUICKSTART, clean_hydra, data, error_of, files
from tests.processes import undrawn

__all__ = ["clean_hydra", "data", "error_of"]  # fixtures
Refused = Callable[..., str]
STEP = ("search.steps=1", "search.last_look.candidates=0")
SCHEMA = "defaults: [/fbnetv5/schema, _self_]\n"


class Stateless:
    """A search method without what a last look asks it for."""

    draw = loss_weights = update = state_dict = load_state_dict = None

    def __init__(self, space: object, *, num_tasks: int, num_samples: int, seed: int) -> None:
        """Take what every method is given."""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=nan", "optimizer.lr=nan is no finite number"),
        ("search.task_weights={det: nan}", "search.task_weights.det=nan"),
        ("tasks.det.anchor_sizes=[-32,64]", "tasks.det.anchor_sizes=[-32, 64] should be above 0"),
        ("tasks.det.roi_size=0", "tasks.det.roi_size=0"),
        ("tasks.det.num_proposals=0", "tasks.det.num_proposals=0"),
        ("tasks.det.roi_size=10000000", "tasks.det.roi_size is too large"),
        ("tasks.mine={_target_: fractions.Fraction}", "is no task: it has no 'path'"),
        ("tasks.cls={_target_: builtins.int}", "tasks.cls._target_=builtins.int is no class"),
        ("search.algorithm={_target_: collections.Counter}", "is no search method: it has no 'draw'"),
        ("search.algorithm={_target_: tests.jobs.test_outside.Stateless}", "it has no 'distribution'"),
        ("data.short_side=10000000", "data.short_side=10000000 is too large: at most 16384"),
        ("data.shapes.size=10000000", "data.shapes.size"),
        ("model.num_stages=10000000", "model.num_stages=10000000"),
        ("search.batch_size=10000000", "search.batch_size"),
        ("search.epochs=1e300", "search.epochs"),
        ("runtime.workers=10000000", "runtime.workers"),
        ("runtime.threads=10000000", "runtime.threads"),
        ("seed=1000000000000000000000000", "seed is too large"),
        ("job=label", "label.images is missing"),
    ],
)
def test_a_value_that_cannot_be_meant(error_of: Refused, override: str, message: str):
    assert message in error_of(*STEP, override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a config starts with"),
        ("# a comment\n", "is empty: a config starts with"),
        ("just words\n", "is text, and a config is a mapping"),
        (SCHEMA + BOMB, "aliases multiply"),
        (f"{SCHEMA}project: {'[' * 3000}{']' * 3000}\n", "nests too deep"),
        (SCHEMA + "name: a\nname: b\n", "the key 'name' stands a second time in line 3"),
        (SCHEMA + "#" * 2**18 + "\n", "too many"),
    ],
)
def test_a_config_that_cannot_be_meant(error_of: Refused, tmp_path: Path, text: str, message: str):
    (tmp_path / "mine.yaml").write_text(text)
    assert message in error_of(config=tmp_path / "mine.yaml")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("named", ["pulled", "/group/pulled", {"/group": "pulled"}, "group/pulled@project"])
@pytest.mark.parametrize(
    ("text", "message"),
    [(BOMB, "aliases multiply"), ("#" * 2**18 + "\n", "too many"), ("", "is empty"), ("[1]", "is a list")],
)
def test_a_config_that_another_builds_on(
    error_of: Refused, tmp_path: Path, named: str | dict[str, str], text: str, message: str
):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"defaults": ["/fbnetv5/schema", named, "_self_"]}))
    (tmp_path / "group").mkdir()
    for place in (tmp_path, tmp_path / "group"):
        (place / "pulled.yaml").write_text(text)
    assert message in error_of(config=tmp_path / "mine.yaml")


def test_a_config_that_is_a_pipe(error_of: Refused, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "there is no such file" in error_of(config=tmp_path / "pipe.yaml")
    (tmp_path / "mine.yaml").write_text("defaults: [/fbnetv5/schema, pipe, _self_]\n")
    assert "no regular file" in error_of(config=tmp_path / "mine.yaml")


def test_masks_and_classes_that_tell_nothing(error_of: Refused, data: Path):
    assert "'segmentation' has one class" in error_of(*files(data), "data.mask_classes=[thing]", *STEP)
    assert "name 'thing' twice" in error_of(*files(data), "data.mask_classes=[thing, thing]", *STEP)
    for mask in (data / "masks").iterdir():
        Image.new("L", (64, 64), 255).save(mask)
    assert "all of their pixels are 255" in error_of(*files(data), *STEP)


def test_a_second_run_does_not_write_where_the_first_does(error_of: Refused, tmp_path: Path):
    with locked(tmp_path / "run"):
        for resume in ("true", "false"):
            assert "in use by this very process" in error_of(*STEP, f"resume={resume}")
        other = launch(*STEP, f"output={tmp_path / 'run'}")
        assert other.returncode == 1
        assert f"is in use by process {os.getpid()} on " in other.stderr
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_a_start_clears_what_a_killed_run_left_and_leaves_no_lock(tmp_path: Path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints" / ".step-00000001.partial-ab").mkdir(parents=True)
    (run / ".metrics.json.partial-cd.json").touch()
    (run / LOCK).write_text('{"process": 1, "host": "elsewhere"}')
    with undrawn():
        run_job(load_config(QUICKSTART, [*TINY, *STEP, "search.batch_size=8", f"output={run}"]))
    assert "process 1 on elsewhere has died; this run takes its folder over" in capsys.readouterr().err
    assert [path for path in run.rglob(".*") if "partial" in path.name or path.name == LOCK] == []
    assert (run / "topology_cls.yaml").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_want_of_memory_is_one_line(error_of: Refused, monkeypatch, error: Exception):
    def greedy(config: RunConfig, folder: Path) -> None:
        raise error

    monkeypatch.setattr(search, "run", greedy)
    assert "the memory of this machine does not suffice" in error_of(*STEP)
