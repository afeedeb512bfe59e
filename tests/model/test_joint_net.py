"""The joint model: its losses, partial labels, predictions, costs and folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fbnetv5
from fbnetv5.archs.cost import measured_macs
from fbnetv5.archs.joint_plan import SHARES
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.folder import load_task_model, save_model
from fbnetv5.model.joint_net import JointModel, JointSpec, TaskSpec, build_joint_model, separate_model
from fbnetv5.model.predictions import BoxPrediction, ClassPrediction, MaskPrediction
from fbnetv5.model.task_net import build_model
from tests.model.test_task_net import HEADS, INPUTS, MeanHead, picture

TOPOLOGIES = {
    "cls": Topology(2, frozenset({(1, 3), (2, 3)})),
    "det": Topology(2, frozenset({(1, 3), (2, 1)})),
    "seg": Topology(2, frozenset({(1, 3), (2, 1), (2, 3)})),
}
ENTRY = {"topology": {"num_stages": 1, "blocks": [], "outputs": [3]}, "head": HEADS["cls"], "classes": ["a"]}
CLASSES = {"cls": ("a", "b"), "det": ("a", "b", "c"), "seg": ("a", "b", "c", "d")}


def spec_of(share: str = "trunk", **heads: dict[str, Any]) -> JointSpec:
    tasks = {task: TaskSpec(TOPOLOGIES[task], heads.get(task, HEADS[task]), CLASSES[task]) for task in TOPOLOGIES}
    return JointSpec("NANO", share, tasks, INPUTS["seg"])  # type: ignore[arg-type]


def build(share: str = "trunk", **heads: dict[str, Any]) -> JointModel:
    with forked(0):
        return build_joint_model(spec_of(share, **heads))


def target_of(*names: str) -> dict[str, Any]:
    """A target dictionary that is labelled for the named targets."""
    mask = torch.zeros(64, 96, dtype=torch.uint8)
    mask[:, 40:] = 2
    whole = {"label": 1, "boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "box_labels": torch.tensor([1])}
    chosen = {key: value for key, value in (whole | {"segmentation": mask}).items() if key in names}
    return chosen | ({"box_labels": whole["box_labels"]} if "boxes" in names else {})


@pytest.mark.parametrize("share", SHARES)
def test_predictions_are_those_of_separate_models_with_the_same_weights(share):
    joint = build(share).eval()
    found = joint.predict_tensors(picture())
    for task in TOPOLOGIES:
        expected = separate_model(joint, task).predict_tensors(picture())
        assert str(found[task]) == str(expected)
    typed = joint.predict(picture())
    assert [type(one) for one in typed.values()] == [ClassPrediction, BoxPrediction, MaskPrediction]
    assert [len(one.classes) for one in typed.values()] == [2, 3, 4]


def test_a_head_sees_the_images_that_are_labelled_for_it():
    """Losses are those of the labelled rows, and a task without one has none."""
    joint = build()
    images = torch.randn(3, 3, 64, 96)
    targets = [target_of("label", "segmentation"), target_of("segmentation"), target_of()]
    with forked(1):
        found = joint(images, targets)
    assert {name.split("/")[0] for name in found} == {"cls", "seg"}
    features = {path: f[:2].detach() for path, f in joint.network(images)["seg"].items()}
    with forked(1):
        expected = joint.head("seg")(features, (64, 96), targets[:2])
    assert {f"seg/{name}": loss.item() for name, loss in expected.items()} == pytest.approx(
        {name: loss.item() for name, loss in found.items() if name.startswith("seg/")}, rel=1e-4
    )
    sum(found.values()).backward()
    assert all(parameter.grad is None for parameter in joint.heads["det"].parameters())
    assert joint.losses(images, [target_of()] * 3)[0] == {}


@pytest.mark.parametrize("share", SHARES)
def test_a_backward_pass_may_go_through_all_of_the_network_whatever_is_labelled(share):
    """As synchronised BN wants it, whose backward pass waits for those of the other processes."""
    joint = build(share)
    joint(torch.randn(2, 3, 64, 96), [target_of("label", "boxes", "segmentation")] * 2)
    for labelled in ((), ("label",)):
        joint.zero_grad()
        losses, zero = joint.losses(torch.randn(2, 3, 64, 96), [target_of(*labelled)] * 2)
        assert zero == 0
        sum((loss for found in losses.values() for loss in found.values()), zero).backward()
        assert all(parameter.grad is not None for parameter in joint.network.parameters())


@pytest.mark.parametrize("share", SHARES)
def test_a_task_that_learns_alone_leaves_the_others_as_they_were(share):
    """To the bit, BN's statistics included; what is not theirs learns."""
    joint = build(share)
    joint.eval()
    before = {name: tensor.clone() for name, tensor in joint.state_dict().items()}
    expected = str([joint.predict_tensors(picture())[task] for task in ("cls", "seg")])
    joint.learn(["det"])
    joint.train()
    optimizer = torch.optim.SGD([p for p in joint.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    losses = joint(torch.randn(2, 3, 64, 96), [target_of("label", "boxes")] * 2)
    assert {name.split("/")[0] for name in losses} == {"det"}
    sum(losses.values()).backward()
    optimizer.step()
    changed = {name for name, tensor in joint.state_dict().items() if not torch.equal(tensor, before[name])}
    own = ("heads.det.", "network.branches.det.") if share == "trunk" else ("heads.det.",)  # all blocks are others' too
    assert changed
    assert all(name.startswith(own) for name in changed)
    assert str([joint.eval().predict_tensors(picture())[task] for task in ("cls", "seg")]) == expected


@pytest.mark.parametrize("share", SHARES)
def test_costs_by_part_are_measured_ones(share):
    joint = build(share, cls={"_target_": "tests.model.test_task_net.MeanHead"}).eval()
    assert isinstance(joint.head("cls"), MeanHead)
    costs = joint.costs((64, 96))
    assert joint.cost((64, 96)).params == sum(parameter.numel() for parameter in joint.parameters())
    network = sum(cost.macs for part, cost in costs.items() if not part.endswith("/head"))
    assert network == measured_macs(joint.network, torch.zeros(1, 3, 64, 96))
    for task, cost in joint.separate_costs((64, 96)).items():
        assert cost.macs == build_model(joint.spec.separate(task)).cost((64, 96)).macs


@pytest.mark.parametrize("share", SHARES)
def test_a_joint_model_survives_the_disk(tmp_path, share):
    joint = build(share).eval()
    save_model(tmp_path, joint, joint.spec)
    loaded = fbnetv5.load(tmp_path)
    assert loaded.spec == joint.spec
    assert str(loaded.predict_tensors(picture())) == str(joint.predict_tensors(picture()))
    assert json.loads((tmp_path / "config.json").read_text())["format"] == 2
    with pytest.raises(InputError, match="is a joint model, of cls, det, seg"):
        load_task_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": "all"}, "'share' is all"),
        ({"tasks": {"cls": 3}}, "task 'cls' is no dict"),
        ({"tasks": {}}, "model.tasks is empty"),
        ({"tasks": {"pop": ENTRY}}, "a task cannot be called 'pop'"),
        ({"tasks": {"training": ENTRY}}, "a task cannot be called 'training'"),
        ({"tasks": {"cls": ENTRY | {"classes": []}}}, "there are no classes"),
        ({"tasks": {"cls": ENTRY | {"head": {}}}}, "the head None is no class"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_line(tmp_path, changes, message):
    joint = build()
    save_model(tmp_path, joint, joint.spec)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=message) as caught:
        fbnetv5.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_strangers_head_is_not_built(tmp_path: Path):
    joint = build(cls={"_target_": "tests.model.test_task_net.MeanHead"})
    save_model(tmp_path, joint, joint.spec)
    with pytest.raises(InputError, match="trust_code=True"):
        fbnetv5.load(tmp_path)
    assert isinstance(fbnetv5.load(tmp_path, trust_code=True), JointModel)


def test_inputs_are_whole_images():
    cropped = JointSpec("NANO", "trunk", spec_of().tasks, InputSpec(short_side=64, crop=64))
    with pytest.raises(InputError, match="cannot be cropped"):
        build_joint_model(cropped)
