"""The block-diversity study: 27 networks of equal MACs, trained, tabled, drawn, and resumed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.projects.fpnas import diversity
from fbnetv5.projects.fpnas.small_network import SmallNetwork, adapted_width, model_macs, network_ids, types_of

CONFIG = Path(__file__).parents[1] / "configs" / "diversity.yaml"
TINY = (
    "data.train.images=null",
    "data.train.labels=null",
    "data.val.images=null",
    "data.val.labels=null",
    "data.shapes.num_images=16",
    "data.shapes.num_val_images=8",
    "data.shapes.size=32",
    "data.short_side=32",
    "search.batch_size=8",
    "runtime.device=cpu",
    "project.epochs=1",
    "project.repeats=2",
    "project.jobs=1",
    "project.macs=2e5",
    "project.tolerance=1e5",
    "project.hidden_channels=8",
)


def test_there_are_27_networks_and_three_have_one_type_of_block():
    assert len(set(network_ids())) == 27
    assert network_ids()[:4] == ["000", "001", "002", "010"]
    assert types_of("012") == ["add k3e6", "split-concat k3e6", "split-add-concat k3e6"]
    assert [number for number in network_ids() if len(set(types_of(number))) == 1] == ["000", "111", "222"]


def test_all_have_10_million_macs():
    """Section 3.1.2: 10 +- 0.5 M on CIFAR-10."""
    widths = diversity.adapted_widths(load_config(CONFIG), num_classes=10)
    assert list(widths) == network_ids()
    for number, width in widths.items():
        assert 9.5e6 <= model_macs(types_of(number), width, (32, 32), 10, 256) <= 10.5e6
        assert width % 2 == 0


def test_macs_agree_with_fvcore():
    for size in ((32, 32), (33, 22)):
        network = SmallNetwork(types_of("021"), 10)
        features = network(torch.zeros(2, 3, *size))
        assert features[3].shape[1] == network.channels[3] == 10
        assert network.macs(size) == measured_macs(network, torch.zeros(1, 3, *size))


def test_what_cannot_be_built_is_said():
    with pytest.raises(InputError, match="1 types were given"):
        SmallNetwork(["add k3e6"], 8)
    with pytest.raises(InputError, match="'split-cross-concat k3e6'"):
        SmallNetwork(["split-cross-concat k3e6"] * 3, 7)
    with pytest.raises(InputError, match="no even width brings a network within 1 of 100 MACs"):
        adapted_width(lambda width: 1000 * width, 100, 1)


def test_a_study_runs_and_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diversity, "network_ids", lambda: ["000", "012"])
    config = load_config(CONFIG, TINY)
    diversity.run(config, tmp_path)
    with (tmp_path / "diversity.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["000", "012"]
    for row in rows:
        accuracies = [float(value) for value in row["top1 of each training"].split()]
        assert len(accuracies) == 2
        assert float(row["mean top1"]) == pytest.approx(sum(accuracies) / 2, abs=1e-4)
    assert (tmp_path / "diversity.svg").read_text(encoding="utf-8").count("012") > 0

    results = {path.name: path.read_text() for path in sorted((tmp_path / "jobs").glob("*.json"))}
    assert list(results) == ["000_0.json", "000_1.json", "012_0.json", "012_1.json"]
    (tmp_path / "jobs" / "012_1.json").unlink()
    (tmp_path / "jobs" / "000_0.json").write_text(json.dumps({"accuracy": 0.123}))
    diversity.run(replace(config, resume=True), tmp_path)
    assert (tmp_path / "jobs" / "012_1.json").read_text() == results[
        "012_1.json"
    ]  # trained again, with the same result
    assert "0.1230" in (tmp_path / "diversity.csv").read_text()  # not trained again


def test_a_study_of_another_configuration_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diversity, "network_ids", lambda: [])
    diversity.run(load_config(CONFIG, TINY), tmp_path)
    with pytest.raises(InputError, match=r"another configuration: project\.epochs"):
        diversity.run(load_config(CONFIG, (*TINY, "project.epochs=2", "resume=true")), tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.clip_norm=1", "remove what has no effect on FPNAS: optimizer.clip_norm"),
        ("optimizer.schedule.name=cosine", "remove what has no effect on FPNAS: optimizer.schedule"),
        ("search.batch_size=1", "batch normalisation needs at least 2"),
        ("project.final_lr=0.1", "project.final_lr=0.1"),
        ("project.jobs=0", "project.jobs=0"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tmp_path: Path, override: str, message: str):
    with pytest.raises(InputError, match=message):
        diversity.run(load_config(CONFIG, (*TINY, override)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_image_smaller_than_the_stride_is_one_clear_sentence():
    config = load_config(CONFIG)
    config.data.crop = 7
    with pytest.raises(InputError, match="an image of 7 x 7 pixels"):
        diversity.adapted_widths(config, num_classes=10)
    with pytest.raises(InputError, match="an image of 3 x 32 pixels"):
        SmallNetwork(types_of("000"), 8).macs((3, 32))


def test_wrong_options_are_said(tmp_path: Path):
    with pytest.raises(InputError, match=r"project\.repeats=0"):
        diversity.run(load_config(CONFIG, (*TINY, "project.repeats=0")), tmp_path)
    with pytest.raises(InputError, match=r"project\.epoch.*epochs"):
        diversity.run(load_config(CONFIG, (*TINY, "+project.epoch=1")), tmp_path)
