"""What a config reads may be URIs: each reader takes a local copy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import fbnetv5
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.weights import save_weights
from fbnetv5.cli.launch import run_job
from fbnetv5.config.schema import DataConfig, FilesConfig, ModelConfig, RunConfig, RuntimeConfig, TeacherConfig
from fbnetv5.data.sources import build_source
from fbnetv5.jobs.evaluate import ground_truth_file
from fbnetv5.jobs.extend import freeze_network, read_finished
from fbnetv5.jobs.search import load_initial_weights
from fbnetv5.labeling.teachers.trained import TrainedBoxes
from fbnetv5.labeling.teachers.weights import read_state
from fbnetv5.model.build import build_final_model
from fbnetv5.model.distill import build_teacher
from fbnetv5.model.folder import save_model
from fbnetv5.tasks.multitask import MultitaskNet
from tests.model.test_task_net import HEADS, build, picture, supernet_weights
from tests.stores import open_store, serving


@pytest.fixture
def store(tmp_path) -> Path:
    return open_store(tmp_path / "store")


def test_data_may_lie_elsewhere(store):
    images = store / "pets" / "images"
    images.mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(images / name)
    (store / "labels.csv").write_text("file_name,label\na.png,cat\nb.png,dog\n")
    coco = {"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}], "annotations": []}
    (store / "pets" / "boxes.json").write_text(json.dumps({**coco, "categories": [{"id": 1, "name": "head"}]}))
    files = FilesConfig(images="images", labels="store://labels.csv", boxes="boxes.json")
    data = DataConfig(root="store://pets", train=files, val=FilesConfig(boxes="store://pets/boxes.json"))
    source = build_source(data)
    assert source.classes == {"label": ("cat", "dog"), "boxes": ("head",)}
    assert source.load(1).target["label"] == 1
    assert ground_truth_file(RunConfig(name="x", data=data), SimpleNamespace(kind=None)) == store / "pets/boxes.json"
    indexed = replace(data, val=replace(data.val, index="val.parquet"))  # whose boxes take the place of the file's
    assert ground_truth_file(RunConfig(name="x", data=indexed), SimpleNamespace(kind=None)) is None
    data.root = "store://dogs"
    with pytest.raises(InputError, match="store://dogs cannot be had"):
        build_source(data)


def test_models_topologies_and_weights_may_lie_elsewhere(store):
    model = build("cls")
    save_model(store / "cls", model, model.spec)
    for place in ("store://cls", "store://cls/config.json"):
        loaded = fbnetv5.load(place)
        assert torch.equal(loaded.predict_tensors(picture()), model.eval().predict_tensors(picture()))
    Topology(2, frozenset({(1, 2)})).save(store / "topology.yaml")
    save_weights(store / "supernet.safetensors", supernet_weights())
    config = ModelConfig("NANO", 2, "store://supernet.safetensors", topology="store://topology.yaml", head=HEADS["cls"])
    source = SimpleNamespace(classes={"label": ("a", "b")}, num_labelled=lambda _: 4)
    started = build_final_model(config, DataConfig(short_side=64, crop=64), source, is_main=False)
    trunk = "network.trunk.0.0.conv.weight"
    assert torch.equal(started.state_dict()[trunk], supernet_weights()[trunk])
    for folder in ("store://cls", str(store / "cls")):  # of a model: its weights
        config = ModelConfig("NANO", 2, folder, topology="store://topology.yaml", head=HEADS["cls"])
        again = build_final_model(config, DataConfig(short_side=64, crop=64), source, is_main=False)
        assert torch.equal(again.state_dict()[trunk], model.state_dict()[trunk])
    assert read_state("store://supernet.safetensors").keys() == supernet_weights().keys()
    teacher = build_teacher(TeacherConfig(model="store://cls"), ("a", "b", "c"), IMAGENET)
    assert teacher is not None


def test_a_model_may_lie_on_the_web(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = build("cls")
    save_model(tmp_path / "served" / "cls", model, model.spec)
    with serving(tmp_path / "served") as address:
        loaded = fbnetv5.load(f"{address}/cls")
        again = fbnetv5.load(f"{address}/cls/config.json")
    assert loaded.spec == again.spec == model.spec
    assert torch.equal(loaded.predict_tensors(picture()), model.eval().predict_tensors(picture()))


def test_modules_of_ones_own_are_imported_first(tmp_path, monkeypatch):
    (tmp_path / "my_handlers.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module, said in (("my_handlers", "evaluate.model is missing"), ("nowhere", "runtime.imports=nowhere cannot")):
        config = RunConfig(job="evaluate", name="x", output="x", runtime=RuntimeConfig(imports=[module]))
        with pytest.raises(InputError, match=said):
            run_job(config)
    assert (tmp_path / "imported").exists()


def test_teachers_of_labels_may_lie_elsewhere(store):
    model = build("det")
    save_model(store / "det", model, model.spec)
    assert TrainedBoxes("store://det").classes == ("a", "b", "c")


def test_searches_start_from_and_extend_what_lies_elsewhere(store):
    (store / "found").mkdir()
    save_weights(store / "found" / "model.safetensors", supernet_weights())
    (store / "found" / "config.yaml").write_text("job: search\nmodel: {family: NANO, num_stages: 2}\n")
    kept = read_finished("store://found", "search", ModelConfig(family="NANO", num_stages=2), ["new"])
    assert kept.keys() == supernet_weights().keys()
    supernet = MultitaskNet(MultiPathNet(get_family("NANO"), Topology.full(2)), {}, {})
    freeze_network(supernet, kept, "store://found")
    assert not any(parameter.requires_grad for parameter in supernet.network.parameters())
    load_initial_weights(supernet, ModelConfig(weights="store://found/model.safetensors"), is_main=False)
    name = "trunk.0.0.conv.weight"
    assert torch.equal(supernet.network.state_dict()[name], supernet_weights()[f"network.{name}"])
