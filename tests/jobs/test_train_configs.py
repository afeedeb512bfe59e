"""The configs of final models: they load, build, and cost what the paper prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fbnetv5.archs.cost import Cost, feature_sizes, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.joint_plan import SHARES
from fbnetv5.base.types import TargetKind
from fbnetv5.config.joint import task_entries
from fbnetv5.config.read import load_config
from fbnetv5.model.build import find_topology, input_spec, read_topology, whole_input
from fbnetv5.model.joint_net import JointSpec, TaskSpec, build_joint_model
from fbnetv5.model.task_net import ModelSpec, build_model

ROOT = Path(__file__).parents[2]
RECIPES = ("small", "pretrained", "imagenet", "coco", "ade20k")  # for others to build on
TRAIN = ROOT / "configs" / "train"
JOINT = sorted((TRAIN / "joint").glob("*.yaml"))
CONFIGS = sorted(p for p in TRAIN.rglob("*.yaml") if p.stem not in RECIPES and p not in JOINT)
KINDS = {"cls": TargetKind.SCALAR, "det": TargetKind.BOXES, "seg": TargetKind.MASK, "pose": TargetKind.KEYPOINTS}
NUM_CLASSES = {"cls": 1000, "det": 80, "seg": 150, "pose": 16}
PRINTED = {  # M MACs of FBNetV5, Tables 2, 6 and 7: the whole model for cls, the backbone for seg and det
    "imagenet_a_c": (280, 0.01),
    "imagenet_a_r": (215, 0.01),
    "imagenet_a": (685, 0.01),
    "imagenet_c": (1000, 0.05),
    "imagenet_f": (2100, 0.025),
    "ade20k_a_c": (945, 0.01),
    "ade20k_a_r": (1389, 0.01),
    "ade20k_a": (2485, 0.01),
    "ade20k_c": (3838, 0.02),
    "ade20k_f": (8502, 0.02),
    "coco_a_c": (399, 0.01),
    "coco_a_r": (601, 0.01),
    "coco_a": (1054, 0.01),
    "coco_a_c_640": (912, 0.01),
    "coco_a_r_640": (1372, 0.01),
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_its_model(path):
    task = path.parent.name
    config = load_config(path)
    with torch.device("meta"):
        spec = ModelSpec(
            config.model.family,
            find_topology(config.model),
            config.model.head,
            tuple(map(str, range(NUM_CLASSES[task]))),
            input_spec(config.data, KINDS[task]),
        )
        model = build_model(spec)
    assert config.job == "train"
    if path.stem in PRINTED:
        printed, tolerance = PRINTED[path.stem]
        size = model.nominal_size
        if task == "det":  # the printed image is 320x481, which pads to 320x512
            size = (224, 320) if size[0] == 224 else (320, 512)
        backbone = network_cost(model.network.family, model.network.topology, size).macs
        macs = model.cost(size).macs if task == "cls" else backbone
        assert macs / 1e6 == pytest.approx(printed, rel=tolerance)


@pytest.mark.parametrize("path", JOINT, ids=lambda path: path.stem)
def test_a_config_of_several_tasks_builds_their_model(path):
    config = load_config(path)
    tasks = {
        name: TaskSpec(
            read_topology(str(entry.topology), config.model.num_stages),
            entry.head,
            tuple(map(str, range(NUM_CLASSES[name]))),
        )
        for name, entry in task_entries(config.model).items()
    }
    assert list(tasks) == ["cls", "det", "seg"]
    for share in SHARES:
        with torch.device("meta"):
            model = build_joint_model(JointSpec(config.model.family, share, tasks, whole_input(config.data)))
        separate = sum((cost for cost in model.separate_costs().values()), Cost())
        assert model.cost().macs < separate.macs
        assert model.cost().params < separate.params


def test_people_have_the_shape_of_the_crops_that_are_trained_on():
    for name, size in (("mpii", (256, 256)), ("coco_keypoints", (192, 256))):
        data = load_config(ROOT / "configs" / "train" / "pose" / f"{name}.yaml").data
        spec = input_spec(data, TargetKind.KEYPOINTS)
        assert spec.nominal_size() == size
        assert sorted((data.crop, data.crop_width)) == sorted(size)
        person = torch.zeros(3, 337, 253, dtype=torch.uint8) if size[0] < 256 else torch.zeros(3, 301, 301).byte()
        assert spec.prepare(person).shape == (3, data.crop, data.crop_width)


def test_nominal_sizes_are_the_papers():
    for family, side in (("A_C", 224), ("A_R", 160), ("A", 224), ("C", 248), ("F", 272)):
        config = load_config(ROOT / "configs" / "train" / "cls" / f"imagenet_{family.lower()}.yaml")
        assert input_spec(config.data, TargetKind.SCALAR).nominal_size() == (side, side)
        assert get_family(family).input_size == side
        assert len(feature_sizes(get_family(family), (side, side))) == 4
    for name, side in (("a_c", 384), ("a_r", 384), ("a", 384), ("c", 448), ("f", 512)):
        config = load_config(ROOT / "configs" / "train" / "seg" / f"ade20k_{name}.yaml")
        assert (config.data.short_side, config.data.crop) == (side, side)
        assert len(config.data.mask_classes) == 150
