"""Whole searches, from the config to the architecture."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import load_by_name, read_weights
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.model.task_net import build_model
from fbnetv5.projects.fpnas import crew
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.history import History
from fbnetv5.projects.fpnas.jobs import Independent
from fbnetv5.projects.fpnas.problem import NETWORK, model_spec
from fbnetv5.projects.fpnas.search import prepare, run
from fbnetv5.projects.fpnas.tests.searches import NUM_TYPES, tiny_search, write_images

CONFIGS = Path(__file__).parents[1] / "configs"


def search(config: RunConfig) -> Path:
    folder = Path(config.output)
    run(config, folder)
    return folder


def test_a_search_writes_what_it_found_and_what_it_took(tmp_path, capsys):
    config = tiny_search(tmp_path)
    folder = search(config)
    summary = json.loads((folder / "search.json").read_text())
    assert summary["training_images"] == 18
    assert summary["last_run_seconds"] >= summary["training_seconds"] > 0  # one training at a time
    assert summary["epochs"] == 3 * (2 + 1 * 3)
    assert summary["image_passes"] == 3 * (2 + 1 * 3) * 18  # T (P + Q E) epochs
    rows = list(csv.DictReader((folder / "history.csv").open()))
    trained = [row for row in rows if row["stage"] != "over bound"]
    assert all(int(row["macs"]) < 250e3 for row in trained)
    assert all(float(row["accuracy"]) == float(row["reward"]) for row in trained)
    over = [row for row in rows if row["stage"] == "over bound"]
    assert over
    assert all(int(row["macs"]) >= 250e3 and row["reward"] == "-1" and not row["accuracy"] for row in over)
    for iteration, count in enumerate(NUM_TYPES, 1):
        own = [row for row in rows if int(row["iteration"]) == iteration]
        assert sum(row["stage"] != "independent" for row in own) == count
        assert sum(row["stage"] == "independent" for row in own) == 3
        assert len({row["network"] for row in own if row["chosen"] == "1"}) == 1
    architecture = Architecture.load(folder / "architecture.yaml")
    assert summary["types"] == [kind.name for kind in architecture.types]
    entry = {"_target_": NETWORK, "architecture": str(folder / "architecture.yaml")}
    model = build_model(model_spec(entry, prepare(config).problem))
    load_by_name(model, read_weights(folder / "model.safetensors"), optional=None, origin=folder)  # all, and no others
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    for name in ("architecture.svg", "model.safetensors", "report.html", "config.yaml"):
        assert (folder / name).stat().st_size > 500
    assert not (folder / "images.safetensors").exists()
    assert "15 of 15 epochs" in re.sub(r"\s+", " ", capsys.readouterr().err)


def test_a_search_that_is_killed_goes_on_without_repeating_a_training(tmp_path, monkeypatch):
    shorter = "project.iterations=2"
    real, done, left = crew.do_training, [], 6

    def killed_after_a_while(work):
        if len(done) == left:
            raise KeyboardInterrupt
        real(work)
        done.append(work.training.name)

    monkeypatch.setattr(crew, "do_training", killed_after_a_while)
    with pytest.raises(KeyboardInterrupt):
        search(tiny_search(tmp_path, shorter))
    assert done[-1] == "iteration-002/candidate-01"
    left = 100
    with pytest.raises(InputError, match="holds a run already: resume=true goes on"):
        search(tiny_search(tmp_path, shorter))
    with pytest.raises(InputError, match=r"project.bound"):
        search(tiny_search(tmp_path, shorter, "resume=true", "project.bound=240e3"))
    search(tiny_search(tmp_path, shorter, "resume=true", "project.jobs=1"))
    assert len(done) == len(set(done)) == 2 * (1 + 3)


def test_a_network_over_the_bound_is_not_trained_whoever_asks(tmp_path):
    config = tiny_search(tmp_path)
    ready = prepare(config)
    history = History(tmp_path, ready.space, ready.problem.type_names, 15)
    dear = tuple(macs.index(max(macs)) for macs in ready.space.type_macs)
    job = Independent("dear", 0, dear, epochs=1, key=(0,))
    with (
        crew.Crew(config, tmp_path, ready.space, history, ready.problem.classes, 1) as trainer,
        pytest.raises(ValueError, match=r"a network of \d{3},\d{3} MACs"),
    ):
        trainer.train([job])
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize("target", ["methods.RandomSearch", "reinforce.Reinforce"])
def test_the_methods_to_compare_with_take_as_many_images(tmp_path, target):
    method = f"project.method={{_target_: fbnetv5.projects.fpnas.{target}, epochs: 5}}"
    folder = search(tiny_search(tmp_path, method))
    summary = json.loads((folder / "search.json").read_text())
    assert summary["image_passes"] == 3 * (2 + 1 * 3) * 18
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert len(rows) == 3
    assert all(int(row["macs"]) < 250e3 for row in rows)
    assert summary["validation_accuracy"] == pytest.approx(max(float(row["accuracy"]) for row in rows), abs=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["project.bound=1e4"], "project.bound=10,000 MACs"),
        (["project.iterations=0"], "project.iterations=0"),
        (["project.shared_epochs=0"], "project.shared_epochs=0"),
        (["project.epochs=-1"], "project.epochs=-1"),
        (["project.num_candidates=0"], "project.num_candidates=0"),
        (["project.num_candidates=22"], "project.num_candidates=22"),
        (["project.validation_share=1.0"], "project.validation_share=1.0"),
        (["project.validation_share=0.01"], "leaves 24 to train on and 0 to validate on"),
        (["project.macro=cifar"], "project.macro=cifar"),
        (["project.multiplier=0"], "project.multiplier=0.0"),
        (["project.boundd=1"], "unknown key 'project.boundd'"),
        (["search.batch_size=1"], "search.batch_size=1: batch normalisation"),
        (["optimizer.schedule.name=cosine"], "what has no effect on FPNAS: optimizer.schedule"),
        (["optimizer.schedule.warmup=5", "train.ema=0.9"], "FPNAS: optimizer.schedule.warmup, train.ema"),
        (["data.crop_place=center"], "data.crop_place=center has no effect"),
        (["data.undecodable=skip"], "data.undecodable=skip has no effect"),
        (["optimizer.clip_norm=1", "search.epochs=2"], "no effect on FPNAS: optimizer.clip_norm, search.epochs"),
        (["project.final_lr=0.06"], "project.final_lr=0.06"),
        (["project.final_lr=-1"], "project.final_lr=-1.0"),
        (["project.validation_share=0.05"], "1 images in batches of search.batch_size=8"),
        (["search.batch_size=2", "project.validation_share=0.2"], "19 images in batches of search.batch_size=2 leave"),
    ],
)
def test_what_is_wrong_is_one_clear_sentence(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        prepare(tiny_search(tmp_path, *overrides))


def test_an_image_smaller_than_the_networks_stride_is_one_clear_sentence(tmp_path):
    config = tiny_search(tmp_path)
    deep = (tmp_path / "macro.yaml").read_text().replace("stride: 1", "stride: 2").replace("identity", "conv k3e6")
    (tmp_path / "macro.yaml").write_text(deep + "- {type: conv k3e6, channels: 16, stride: 2}\n")
    with pytest.raises(InputError, match="an image of 32 x 32 pixels"):
        prepare(config)


def test_a_data_set_with_one_class_is_refused_before_anything_is_written(tmp_path):
    config = tiny_search(tmp_path)
    write_images(tmp_path / "data" / "one", colours={"red": (200, 0, 0)})
    config.data.train.images = config.data.train.labels = "one"
    with pytest.raises(InputError, match=r"data.train"):
        search(config)
    assert not Path(config.output).exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar10_small"])
def test_the_configs_are_those_that_their_comments_describe(name):
    project = load_config(CONFIGS / f"{name}.yaml").project
    default = {"iterations": 16, "shared_epochs": 4, "epochs": 4, "num_candidates": 10}
    chosen = {key: project.get(key, value) for key, value in default.items()}
    expected = {"cifar10": (16, 4, 4, 10), "cifar10_small": (16, 2, 1, 3)}
    assert tuple(chosen.values()) == expected[name]
