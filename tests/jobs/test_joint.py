"""Trainings of one network for several tasks: where weights come from, evaluation, a task that is added, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import fbnetv5
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.seeding import forked
from fbnetv5.base.weights import save_weights
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs.joint import JointTraining, build_joint_training, joint_step
from fbnetv5.model.folder import save_model
from fbnetv5.model.joint_net import JointModel, build_joint_model
from fbnetv5.model.task_net import build_model
from tests.jobs.cases import take
from tests.jobs.partial import joint_training
from tests.jobs.runs import arguments
from tests.on_request import some_on_request

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
BRIEF = ("train.steps=2", "train.eval_every=null", "train.ema=null", "evaluate.num_drawn=1")
SHARED = "model.share=blocks"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line of a training of three tasks on images that are labelled for some."""
    return [*joint_training(tmp_path_factory.mktemp("data") / "data"), *BRIEF]


def configured(given: list[str], *overrides: str) -> RunConfig:
    return load_config(Path(given[0].removeprefix("--config=")), [*given[1:], *overrides])


def built(given: list[str], *overrides: str) -> JointTraining:
    run = build_joint_training(configured(given, *overrides), ALONE)
    run.model.train()
    return run


@pytest.fixture(scope="module", params=some_on_request(["trunk", "blocks"], {"trunk"}))
def finished(given: list[str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two of the tasks that has come to its end."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    take([*given, "model.tasks.det=null", f"model.share={request.param}", f"output={folder}"])
    return folder


@pytest.mark.slow
def test_an_added_task_leaves_the_others_outputs_to_the_bit(given, finished, tmp_path):
    share = json.loads((finished / "config.json").read_text())["share"]
    only = ("model.tasks.cls=null", "model.tasks.seg=null", f"model.joint={finished}", f"model.share={share}")
    take([*given, *only, f"output={tmp_path}", "train.ema=0.9", "data.flip=false"])
    before, after = fbnetv5.load(finished), fbnetv5.load(tmp_path)
    assert list(after.spec.tasks) == ["cls", "seg", "det"]
    pixels = torch.randint(256, (3, 70, 90), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    old, new = before.predict_tensors(pixels), after.predict_tensors(pixels)
    assert all(torch.equal(new[task], old[task]) for task in ("cls", "seg"))
    kept, weights = load_file(finished / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept.items())
    assert {name.split("/")[0] for name in json.loads((tmp_path / "metrics.json").read_text())["metrics"]} == {
        *("cls", "seg", "det")
    }


@pytest.mark.slow
def test_a_joint_model_is_evaluated_and_predicts_all_tasks_in_one_pass(given, finished, tmp_path):
    first = json.loads((finished / "metrics.json").read_text())
    take(
        [
            *arguments(config=finished / "config.yaml", tiny=False),
            "job=evaluate",
            f"evaluate.model={finished}",
            f"output={tmp_path / 'again'}",
        ]
    )
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["metrics"] == first["metrics"]
    assert (first["metrics"]["cls/num_images"], first["metrics"]["seg/num_images"]) == (8, 6)
    assert first["model"]["macs"] == sum(cost["macs"] for cost in first["model"]["parts"].values())
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (90, 60), (200, 30, 30)).save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "cut.jpg").write_bytes((tmp_path / "photos" / "a.jpg").read_bytes()[:300])
    keys = (f"evaluate.model={finished}", f"evaluate.images={tmp_path / 'photos'}", f"output={tmp_path / 'out'}")
    take(arguments(*keys, "runtime.workers=0", "evaluate.frame=stored", config="configs/evaluate.yaml", tiny=False))
    (image,) = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())["images"]
    assert (image["file_name"], image["height"], image["width"]) == ("a.jpg", 60, 90)
    predicted = fbnetv5.load(finished).predict(tmp_path / "photos" / "a.jpg")
    assert image["tasks"]["cls"]["label"] == predicted["cls"].name
    assert (tmp_path / "out" / "predictions" / image["tasks"]["seg"]["mask"]).is_file()
    assert (tmp_path / "out" / "predictions" / "drawn.png").is_file()


def test_steps_take_images_of_any_task_and_a_task_without_one_has_no_loss(given):
    run = built(given, "train.batch_size=6")
    assert run.num_images == 11  # of 12, number 9 has nothing
    batch = next(iter(run.batches(0)))
    for target in batch.targets:
        target.pop("boxes", None)
    heads = {name: tensor.clone() for name, tensor in run.model.heads["det"].state_dict().items()}
    found = joint_step(run, 0, batch)
    assert {name for name in found if name.startswith("loss/")} == {"loss/cls", "loss/seg"}
    assert found["loss"] == pytest.approx(found["loss/cls"] + found["loss/seg"])
    statistics = [name for name in heads if "running" in name or "num_batches" in name]
    assert all(torch.equal(run.model.heads["det"].state_dict()[name], heads[name]) for name in statistics)


def test_a_joint_model_starts_as_separate_models_predict(given, tmp_path):
    """From folders of models with the same trunk, by task; and of a supernet, by name into every branch."""
    start = built(given).model
    own, places = {}, []
    for task in start.spec.tasks:
        with forked(3):
            model = build_model(start.spec.separate(task))
        trunk = {name: w for name, w in start.state_dict().items() if name.startswith("network.trunk.")}
        model.load_state_dict(trunk, strict=False)
        own[task] = model.eval()
        save_model(tmp_path / task, model, model.spec)
        places.append(f"model.tasks.{task}.weights={tmp_path / task}")
    joint = built(given, *places).model.eval()
    photo = torch.randint(256, (3, 70, 90), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert str(joint.predict_tensors(photo)) == str({task: model.predict_tensors(photo) for task, model in own.items()})
    with forked(4):
        supernet = MultiPathNet(get_family("NANO"), Topology.full(2)).state_dict()
    save_weights(tmp_path / "supernet.safetensors", {f"network.{name}": tensor for name, tensor in supernet.items()})
    joint = built(given, f"model.weights={tmp_path / 'supernet.safetensors'}").model
    for name, tensor in joint.network.state_dict().items():
        assert torch.equal(tensor, supernet[name.split(".", 2)[2] if name.startswith("branches.") else name])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.tasks.cls.topolgy=linear",), "model.tasks.cls.topolgy"),
        (("model.tasks.cls=3",), "model.tasks.cls=3 should be a mapping"),
        (("model.tasks.cls.topology=null",), "model.tasks.cls.topology is missing"),
        (("model.tasks.cls.weight=-1",), "model.tasks.cls.weight=-1"),
        (("model.tasks.cls.head={_target_: fbnetv5.heads.classifier.Classifer}",), "model.tasks.cls.head._target_"),
        (("model.tasks.cls.head.path=1",), "model.tasks.cls: topology"),
        (("model.tasks.trunk=${model.tasks.cls}",), "a task cannot be called 'trunk'"),
        (("data.train.labels=null",), "model.tasks.cls.head learns from 'label'"),
        (("model.topology=linear",), "model.topology is for a network of one task"),
        (("train.teacher.model=resnet18",), "train.teacher is for a model of one task"),
        (("data.rotation=10",), "data.rotation"),
        (("model.tasks.cls.weights=nowhere",), "nowhere"),
        (("model.weights=supernet.safetensors",), "supernet.safetensors"),
        (("model.joint=nowhere",), "nowhere"),
        (("data.crop=32", "data.short_side=32"), "a single value on path 3; raise data.crop"),
        (("train.batch_size=7", "train.accumulate=2"), "multiple"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given, overrides, message):
    with pytest.raises(InputError) as caught:
        built(given, *overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def untrained(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint model of two tasks, as if its training had come to its end."""
    folder = tmp_path_factory.mktemp("untrained")
    model = built(given, "model.tasks.det=null").model
    save_model(folder, model, model.spec)
    return folder


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "model.tasks.cls: model.joint="),
        ((SHARED,), "set model.share=trunk"),
        (("model.family=A_C",), "set model.family=NANO"),
        (("data.short_side=96",), "short_side 64"),
        (("model.trunk_weights=pretrained",), "model.trunk_weights has no effect"),
    ],
)
def test_tasks_that_cannot_be_added_are_refused(given, untrained, overrides, message):
    rest = () if "cls:" in message else ("model.tasks.cls=null", "model.tasks.seg=null")
    with pytest.raises(InputError, match=message):
        built(given, f"model.joint={untrained}", *rest, *overrides)


def test_a_trunk_that_a_new_task_needs_deeper_has_weights_or_is_refused(given, untrained, tmp_path):
    shallow = built(given, "model.tasks.cls=null", "model.tasks.seg=null", "model.tasks.det.topology=linear").model
    assert len(shallow.network.trunk) == 2
    save_model(tmp_path, shallow, shallow.spec)
    only = ("model.tasks.det=null", "model.tasks.seg=null", f"model.joint={tmp_path}")
    with pytest.raises(InputError, match="a new task needs 4: give the weights"):
        built(given, *only)
    built(given, *only, f"model.tasks.cls.weights={untrained}")


def test_what_no_file_has_starts_from_the_trunk_that_was_taken(given, untrained, tmp_path, capsys):
    only = ("model.tasks.seg=null", f"model.tasks.cls.weights={untrained}", "model.block_start=zeroed")
    joint = built(given, *only).model
    assert "blocks of det that no file has: from its last layers, with no effect at first" in capsys.readouterr().out
    (part,) = joint.network.parts("det")
    assert part.blocks
    for name, block in part.blocks.items():
        scales = [module.weight for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        assert not scales[-1].any(), name
    shallow = built(given, "model.tasks.cls=null", "model.tasks.seg=null", "model.tasks.det.topology=linear").model
    save_model(tmp_path, shallow, shallow.spec)
    with pytest.raises(InputError, match=r"det\.weights=.* tensors of the trunk, which other tasks read further"):
        built(given, "model.tasks.seg=null", f"model.tasks.det.weights={tmp_path}", "model.tasks.det.topology=linear")


def test_heads_of_a_search_are_not_taken(given, untrained, tmp_path):
    weights = load_file(untrained / "model.safetensors")
    only = ("model.tasks.det=null", "model.tasks.seg=null")
    moved = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    (tmp_path / "supernet").mkdir()
    save_weights(tmp_path / "supernet" / "model.safetensors", moved)
    joint = built(given, *only, f"model.weights={tmp_path / 'supernet' / 'model.safetensors'}").model.state_dict()
    heads = [name for name in joint if name.startswith("heads.cls.") and "weight" in name]
    assert not any(torch.equal(joint[name], moved[name]) for name in heads)
    joint = built(given, *only, f"model.weights={untrained}").model.state_dict()
    assert all(torch.equal(joint[name], weights[name]) for name in heads)


def test_what_of_weights_is_left_out_or_missing_is_said(given, untrained, tmp_path, capsys):
    weights = load_file(untrained / "model.safetensors")
    other = {name: tensor + (1 if "trunk" in name else 0) for name, tensor in weights.items()}
    del other[next(name for name in other if name.startswith("heads.seg."))]
    save_weights(tmp_path / "other.safetensors", other)
    places = (f"model.tasks.cls.weights={untrained}", f"model.tasks.seg.weights={tmp_path / 'other.safetensors'}")
    built(given, "model.tasks.det=null", *places)
    said = capsys.readouterr().out
    assert "other.safetensors has another trunk, left out" in said
    assert "seg: no weights for 1 tensors of the head; they start afresh" in said


def test_classes_of_one_target_are_one_list(given, untrained):
    document: dict[str, Any] = json.loads((untrained / "config.json").read_text())
    model = fbnetv5.load(untrained)
    assert isinstance(model, JointModel)
    other = replace(model.spec.tasks["cls"], classes=("cat", "dog", "emu"))
    spec = replace(model.spec, tasks={"species": other})
    folder = untrained / "other"
    with forked(0):
        save_model(folder, build_joint_model(spec), spec)
    with pytest.raises(InputError, match="species and cls both learn from 'label'"):
        built(given, f"model.joint={folder}", "model.tasks.det=null", "model.tasks.seg=null")
    assert document["tasks"]["cls"]["classes"] != list(other.classes)


def test_weights_of_other_images_share_no_trunk(given, untrained, tmp_path):
    weights = load_file(untrained / "model.safetensors")
    save_weights(tmp_path / "grey.safetensors", weights, Normalisation((0.5,) * 3, (0.5,) * 3))
    places = (f"model.weights={tmp_path / 'grey.safetensors'}", f"model.tasks.cls.weights={untrained}")
    with pytest.raises(InputError, match="different normalisation"):
        built(given, "model.tasks.det=null", *places)


def test_a_finished_task_is_not_judged_by_other_classes(given, untrained, tmp_path):
    """The data of an added task may have labels too, which are then those that the finished one knows."""
    names = (Path(given[1].removeprefix("data.root=")) / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(names.replace(names.splitlines()[1].split(",")[1], "elsewhere"))
    only = ("model.tasks.cls=null", "model.tasks.seg=null", f"model.joint={untrained}")
    with pytest.raises(InputError, match="elsewhere"):
        built(given, *only, f"data.train.labels={tmp_path}/labels.csv", f"data.val.labels={tmp_path}/labels.csv")
