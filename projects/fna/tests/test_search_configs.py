"""The configs of the searches, adaptations and tables."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
import yaml

from fbnetv5.config.read import load_config, read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target, find_class, find_function
from fbnetv5.heads.simple_baseline.heatmaps import SIGMA
from fbnetv5.model.build import input_spec
from fbnetv5.projects.fna import table13_plan
from fbnetv5.projects.fna.options import AdaptOptions, SearchOptions
from fbnetv5.projects.fna.spaces import get_space

CONFIGS = Path(__file__).parents[1] / "configs"
SEARCHES = sorted(CONFIGS.rglob("*search.yaml"))
ADAPTATIONS = sorted(CONFIGS.rglob("*adapt*.yaml"))
TABLES = sorted((CONFIGS / "table13").glob("*.yaml"))


@functools.cache
def read(file: Path) -> RunConfig:
    """Reading takes a second; a test changes nothing in it."""
    return load_config(file, ["project.search=runs/search"] if "adapt" in file.name else [])


def named(file: Path) -> str:
    return str(file.relative_to(CONFIGS))


@pytest.mark.parametrize("file", SEARCHES, ids=named)
def test_a_search_fits_together(file):
    config = read(file)
    options = read_project(config.project, SearchOptions)
    build_target("project.method", options.method)
    find_function("job", config.job)
    target = find_class("model.head", config.model.head).target
    space = get_space(options.space)
    build_target("model.head", config.model.head, space.largest.channels, 5)
    assert space.fixed_macs(input_spec(config.data, target.kind).cost_size(target.kind)) > 0
    assert config.train.ema is None
    assert config.model.topology is None


@pytest.mark.parametrize("file", ADAPTATIONS, ids=named)
def test_an_adaptation_fits_its_search(file):
    config = read(file)
    read_project(config.project, AdaptOptions)
    find_function("job", config.job)
    near = [search for search in SEARCHES if search.parent == file.parent]
    assert config.model.head["_target_"] in {read(search).model.head["_target_"] for search in near}


def test_the_papers_schedules():
    """FNA++, Sec. 4.1 to 4.4: epochs, batches, lambda and when the architecture starts to learn."""
    deeplab = 9e-3 / math.log10(45)  # the conference version has a logarithm to base 45
    pose = 3e-5 * 2 * 64**2 / (math.pi * SIGMA**2)  # ours is so many times SimpleBaseline's loss
    printed = {
        "cityscapes/search.yaml": (80, 16, pytest.approx(deeplab, rel=1e-3), 30 / 80),
        "mpii/search.yaml": (140, 32, pytest.approx(pose, rel=5e-3), 70 / 140),
        "coco/retinanet_search.yaml": (14, 16, 0.02, 8 / 14),
        "coco/retinanet_resnet18_search.yaml": (14, 16, 0.08, 8 / 14),
        "coco/retinanet_resnet50_search.yaml": (14, 8, 0.08, 8 / 14),
        "coco/ssdlite_search.yaml": (30 * 5, 128, 0.15, 15 / 30),
    }
    for name, (epochs, batch_size, cost_weight, weights_first) in printed.items():
        config = read(CONFIGS / name)
        assert (config.train.epochs, config.train.batch_size) == (epochs, batch_size)
        assert config.project["method"]["cost_weight"] == cost_weight
        assert config.project["method"]["weights_first"] == pytest.approx(weights_first, abs=1e-4)


@pytest.mark.parametrize("file", TABLES, ids=named)
def test_a_table_has_runs_that_can_be_read(file, tmp_path):
    config = table13_plan.load_table(file, ["data=/some where", "seeds=[0]"])
    jobs = table13_plan.plan(config, tmp_path)
    for job in jobs:
        run = load_config(job.work.config, job.work.overrides)
        assert run.output == str(job.folder) == str(tmp_path / job.name)
        assert str(run.data.root).startswith("/some where/")
    names = {yaml.safe_load(job.work.config.read_text())["name"] for job in jobs}
    assert len(names) == (2 if config.seed_network is None else 3)
