"""A search in D2Go's training loop against our own job; skipped where Detectron2 or D2Go is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fbnetv5.base.devices import tf32_products
from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import WEIGHTS, read_weights
from fbnetv5.config.read import load_config
from fbnetv5.data.build import build_index
from fbnetv5.jobs import search
from fbnetv5.latency.table import LatencyTable
from tests.d2.detectors import ROOT, needs_detectron2
from tests.data.conftest import Folder
from tests.latency.tables import random_table

pytestmark = needs_detectron2

RUNNER = "fbnetv5.d2.runner.SearchRunner"
CONFIG = ROOT / "configs" / "d2go" / "search_shapes.yaml"
STEPS, PERIOD = 4, 2
SMALL = [
    "model.num_stages=2",
    "data.shapes.num_images=24",
    "data.shapes.size=64",
    "data.short_side=64",
    "data.crop=64",
    "search.num_samples=4",
    "search.arch_start=0.25",
    "search.task_weights={seg: 0.7}",
    "optimizer.schedule.warmup=2",
    "runtime.log_every=2",
]
SHARED = {  # D2Go's keys, and ours for the same
    "SOLVER.MAX_ITER": ("search.steps", STEPS),
    "SOLVER.IMS_PER_BATCH": ("search.batch_size", 12),
    "SOLVER.BASE_LR": ("optimizer.lr", 0.07),
    "SOLVER.CHECKPOINT_PERIOD": ("runtime.checkpoint_every", PERIOD),
    "DATALOADER.NUM_WORKERS": ("runtime.workers", 0),
    "SEED": ("seed", 3),
}
OWN = [*SMALL, *(f"{key}={value}" for key, value in SHARED.values())]
THEIRS = [str(part) for key, (_, value) in SHARED.items() for part in (key, value)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def run_own(output: Path, *overrides: str) -> Path:
    config = load_config(ROOT / "configs" / "quickstart.yaml", [*OWN, f"output={output}", *overrides])
    search.run(config, output)
    return output


def d2_config(*changes: Any, overrides: tuple[str, ...] = ()) -> Any:
    from d2go.setup import create_cfg_from_cli

    return create_cfg_from_cli(
        str(CONFIG), [*THEIRS, "MODEL.FBNETV5.OVERRIDES", [*SMALL, *overrides], *map(str, changes)], RUNNER
    )


def run_d2(output: Path, *changes: Any, overrides: tuple[str, ...] = (), resume: bool = False) -> Path:
    from d2go.tools.train_net import main

    main(d2_config(*changes, overrides=overrides), str(output), RUNNER, resume=resume)
    return output


def refused(message: str, *changes: Any, overrides: tuple[str, ...] = ()) -> None:
    from fbnetv5.d2.runner import SearchRunner

    def start() -> None:
        cfg = d2_config(*changes, overrides=overrides)
        SearchRunner().register(cfg)
        SearchRunner().build_model(cfg)

    with pytest.raises(InputError, match=message) as caught:
        start()
    assert "\n" not in str(caught.value)


def assert_same(found: Path, expected: Path) -> None:
    """Assert that two searches found the same, to the bit."""
    ours, theirs = read_weights(expected / WEIGHTS), read_weights(found / WEIGHTS)
    assert theirs.keys() == ours.keys()
    assert [name for name in ours if not torch.equal(theirs[name], ours[name])] == []
    files = ["probabilities.csv", *(f"topology_{task}.yaml" for task in ("cls", "det", "seg"))]
    for file in files:
        assert (found / file).read_bytes() == (expected / file).read_bytes()
    assert (found / "probabilities.csv").read_text().count("0.500000") < 24  # some moved: the update was at work


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_own(tmp_path_factory.mktemp("own") / "run")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_d2(tmp_path_factory.mktemp("theirs") / "run")


def test_a_search_in_d2gos_loop_is_our_own_to_the_bit(own, theirs):
    assert_same(theirs, own)
    for file in ("search.yaml", "topologies.png", "topology_cls.png", "metrics.jsonl", "model_final.pth"):
        assert (theirs / file).is_file()


def test_a_resumed_search_ends_as_an_uninterrupted_one(theirs, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(theirs, half)
    for file in ("model_final.pth", WEIGHTS, "topology_cls.yaml"):
        (half / file).unlink()
    (half / "last_checkpoint").write_text(f"model_{PERIOD - 1:07d}.pth")
    assert_same(run_d2(half, resume=True), theirs)
    lines = [(run / "metrics.jsonl").read_text().count("\n") for run in (half, theirs)]
    assert lines == [STEPS // 2, STEPS // 2]


def test_a_resumed_search_goes_on_with_its_own_latencies(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    by_latency = ("search.cost=latency", "search.latency.repeats=2")
    monkeypatch.setattr("fbnetv5.latency.cache.measure_latency", lambda *_: random_table(5))
    whole = run_d2(tmp_path / "whole", overrides=by_latency)
    half = tmp_path / "half"
    shutil.copytree(whole, half)
    (half / "last_checkpoint").write_text(f"model_{PERIOD - 1:07d}.pth")
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr("fbnetv5.latency.cache.measure_latency", lambda *_: random_table(6))
    assert_same(run_d2(half, overrides=by_latency, resume=True), whole)
    assert LatencyTable.load(half / "latency.json") == LatencyTable.load(whole / "latency.json")


@pytest.mark.parametrize("allowed", [False, True])
def test_imports_and_tf32_of_the_searchs_file_count(allowed, tmp_path, monkeypatch):
    from fbnetv5.d2.runner import SearchRunner

    (tmp_path / "handlers_of_a_test.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "handlers_of_a_test", raising=False)
    with tf32_products(not allowed):
        given = ("runtime.imports=[handlers_of_a_test]", f"runtime.tf32={str(allowed).lower()}")
        SearchRunner().register(d2_config(overrides=given))
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (allowed, allowed)
    assert "handlers_of_a_test" in sys.modules


def test_what_the_searchs_file_says_is_refused_elsewhere():
    from detectron2.config import CfgNode

    from fbnetv5.d2.runner import SearchRunner
    from fbnetv5.d2.search_config import check_search_config

    refused(r"FBNETV5.FAMILY='A_C' has no place in a search.* model.family", "MODEL.FBNETV5.FAMILY", "A_C")
    refused("FBNETV5.TOPOLOGY='fpn' has no place", "MODEL.FBNETV5.TOPOLOGY", "fpn")
    refused("FBNETV5.NUM_CLASSES=3 has no place", "MODEL.FBNETV5.NUM_CLASSES", 3)
    refused("MODEL.WEIGHTS='a.pth' has no place", "MODEL.WEIGHTS", "a.pth")
    cfg = SearchRunner.get_default_cfg()
    cfg.MODEL.FBNETV5.HEAD = CfgNode({"a": 1, "b": 2})
    with pytest.raises(InputError, match=r"^MODEL.FBNETV5.HEAD=.* has no place in a search; .*$"):
        check_search_config(cfg, 1, SearchRunner.get_default_cfg())


def test_another_search_is_not_resumed(theirs, tmp_path):
    shutil.copytree(theirs, tmp_path / "copy")
    with pytest.raises(InputError, match=r"another configuration: optimizer.lr was 0.07, is now 0.5"):
        run_d2(tmp_path / "copy", "SOLVER.BASE_LR", 0.5, resume=True)


@pytest.mark.slow
def test_two_processes_of_d2go_are_two_of_our_own(tmp_path):
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train_net.py"]
    own = [*launcher, "--config", "configs/quickstart.yaml", f"output={tmp_path / 'own'}", *OWN]
    launcher = ["d2go.tools.train_net", "--disable-post-mortem", "--num-processes", "2", "--dist-backend", "GLOO"]
    files = ["--runner", RUNNER, "--config-file", str(CONFIG), "--output-dir", str(tmp_path / "theirs")]
    for command in (own, [*launcher, *files, *THEIRS, "MODEL.FBNETV5.OVERRIDES", str(SMALL)]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert_same(tmp_path / "theirs", tmp_path / "own")


def test_registered_images_are_searched_on_also_without_labels(folder, tmp_path):
    file = folder.root / "index.parquet"
    build_index(**folder.all_labels).write(file)  # c.jpg has no label at all
    sizes = ("data.short_side=64", "data.crop=64", "search.num_samples=4", "search.batch_size=8")
    steps = ("search.task_weights={}", "search.steps=3", "search.last_look.candidates=0")
    root = f"data.root={folder.root}"
    expected = run_own(tmp_path / "own", root, "data.train.index=index.parquet", *sizes, *steps)
    found = run_d2(
        tmp_path / "theirs",
        *("DATASETS.TRAIN", (str(file),), "SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", 3),
        overrides=(*sizes[:2], steps[0], steps[2]),
    )
    assert_same(found, expected)


def test_random_sampling_is_searched_too(tmp_path):
    random = "search.algorithm={_target_: fbnetv5.search.algorithms.RandomSampling}"
    found = run_d2(tmp_path / "theirs", "SOLVER.MAX_ITER", 1, overrides=(random,))
    assert "1,cls," in (found / "probabilities.csv").read_text()


def test_keys_that_are_not_set_come_from_the_searchs_file():
    from d2go.setup import create_cfg_from_cli

    from fbnetv5.d2.runner import SearchRunner

    cfg = create_cfg_from_cli(str(CONFIG), ["SOLVER.BASE_LR", "0.25"], RUNNER)
    SearchRunner().register(cfg)
    own = load_config(ROOT / "configs" / "quickstart.yaml")
    found = [cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SEED]
    assert found == [own.search.steps, own.search.batch_size, own.runtime.checkpoint_every, own.seed]
    assert cfg.SOLVER.BASE_LR == 0.25
    assert cfg.is_frozen()


def test_the_papers_search_is_read():
    from d2go.setup import create_cfg_from_cli

    from fbnetv5.d2.search_config import read_search_config

    cfg = create_cfg_from_cli(str(CONFIG.with_name("search_fbnetv5_a.yaml")), [], RUNNER)
    config = read_search_config(cfg)
    assert (config.model.family, config.search.steps, config.search.batch_size) == ("A", 9375, 768)
    assert cfg.SOLVER.REFERENCE_WORLD_SIZE == 0  # the same with any number of processes


def test_what_a_search_cannot_be_is_refused(tmp_path):
    refused("MODEL.FBNETV5.SEARCH is empty", "MODEL.FBNETV5.SEARCH", "")
    refused("SEARCH=absent.yaml: there is no such file", "MODEL.FBNETV5.SEARCH", "absent.yaml")
    refused("job=train; D2Go runs searches", "MODEL.FBNETV5.SEARCH", "configs/train/cls/shapes.yaml")
    refused("unknown key 'search.stepss'", overrides=("search.stepss=3",))
    refused("counts epochs, D2Go iterations", "SOLVER.MAX_ITER", 0, overrides=("search.steps=null", "search.epochs=1"))
    refused("SOLVER.AMP.ENABLED=True has no place in a search", "SOLVER.AMP.ENABLED", True)
    refused("SOLVER.WEIGHT_DECAY=0.5 has no effect on a search", "SOLVER.WEIGHT_DECAY", 0.5)
    refused("DATASETS.TEST=.* has no place in a search", "DATASETS.TEST", ("coco_2017_val",))
    refused("REFERENCE_WORLD_SIZE=8 would have D2Go scale", "SOLVER.REFERENCE_WORLD_SIZE", 8)
    gated = "search.algorithm={_target_: fbnetv5.search.differentiable.TaskByTask}"
    refused("TaskByTask takes several backward passes a sample", overrides=(gated,))


def test_a_supernet_predicts_nothing():
    from fbnetv5.d2.runner import SearchRunner

    cfg = d2_config()
    SearchRunner().register(cfg)
    runner = SearchRunner()
    model = runner.build_model(cfg)
    assert set(model.state_dict()) == set(model.run.model.state_dict())
    assert runner.do_test(cfg, model) == {}
    with pytest.raises(RuntimeError, match="predicts nothing by itself"):
        model.eval()([])
