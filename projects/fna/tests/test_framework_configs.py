"""The configs of parameter adaptations: they load, build the paper's models, and have its schedules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fbnetv5.config.read import load_config, read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import find_class, find_function
from fbnetv5.data.augmentation import check_augmentation
from fbnetv5.engine.optim import rate_factor
from fbnetv5.model.build import input_spec
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from fbnetv5.projects.fna import adapt
from fbnetv5.projects.fna.options import AdaptOptions

CONFIGS = Path(__file__).parents[1] / "configs"
COCO_IMAGES = 118_287
PRINTED = {  # M parameters of FNA++'s Tables 2, 4, 6 and 8; SSDLite's with the expansion that the head here has besides
    "cityscapes/adapt": ("mobilenetv2_100", 19, 16, 2.57),
    "cityscapes/adapt_os8": ("mobilenetv2_100", 19, 16, 2.57),
    "coco/retinanet_adapt": ("mobilenetv2_100", 80, 32, 11.49),
    "coco/retinanet_resnet50_adapt": ("resnet50", 80, 32, 37.97),
    "coco/ssdlite_adapt": ("mobilenetv2_100", 80, 32, 4.38),
    "mpii/adapt": ("mobilenetv2_100", 16, 32, 5.23),
    "pets/adapt": ("mobilenetv2_035", 2, 16, None),
    "bccd/adapt": ("mobilenetv2_035", 3, 32, None),
}


def config_of(name: str) -> RunConfig:
    return load_config(CONFIGS / f"{name}.yaml", ["project.search=runs/search"])


def model_of(config: RunConfig, architecture: str, num_classes: int, output_stride: int) -> TaskNet:
    """The model of a config, on a seed in the place of what a search found."""
    network = {
        "_target_": "fbnetv5.projects.fna.network.FNANetwork",
        "architecture": architecture,
        "output_stride": output_stride,
        **config.model.network,
    }
    head = dict(config.model.head)
    target = find_class("model.head", head).target
    check_augmentation(config.data, [target])
    classes = tuple(map(str, range(num_classes)))
    with torch.device("meta"):
        return build_model(ModelSpec(None, None, head, classes, input_spec(config.data, target.kind), network))


@pytest.mark.parametrize("name", PRINTED)
def test_a_config_builds_its_model(name):
    architecture, num_classes, output_stride, printed = PRINTED[name]
    config = config_of(name)
    assert find_function("job", config.job) is adapt.run
    assert config.model.topology is None
    assert read_project(config.project, AdaptOptions).search == "runs/search"
    model = model_of(config, architecture, num_classes, output_stride)
    if printed is not None:
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(printed, abs=0.005)


def test_every_config_is_one_of_these():
    assert {str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.glob("*/*adapt*.yaml")} >= set(PRINTED)


def test_what_the_variants_change():
    os8 = model_of(config_of("cityscapes/adapt_os8"), "mobilenetv2_100", 19, 16)
    assert os8.network.strides == (4, 8, 8, 8)
    resnet = config_of("coco/retinanet_resnet50_adapt")
    assert model_of(resnet, "resnet50", 80, 32).network.freeze_bn
    assert read_project(resnet.project, AdaptOptions).calibration_steps == 200
    assert len(config_of("cityscapes/adapt").data.mask_classes) == 19


@pytest.mark.parametrize(("name", "milestones"), [("retinanet_adapt", (8, 11)), ("retinanet_resnet50_adapt", (8, 11))])
def test_the_warm_up_of_retinanet_is_500_iterations_from_a_third(name, milestones):
    config = config_of(f"coco/{name}")
    steps_per_epoch = COCO_IMAGES / config.train.batch_size
    schedule, num_steps = config.optimizer.schedule, round(12 * steps_per_epoch)
    assert rate_factor(schedule, 0, num_steps, steps_per_epoch) == pytest.approx(1 / 3, abs=0.001)
    assert rate_factor(schedule, 495, num_steps, steps_per_epoch) < 1
    assert rate_factor(schedule, 505, num_steps, steps_per_epoch) == 1
    ends = [round(milestone * steps_per_epoch) + 1 for milestone in milestones]
    assert [rate_factor(schedule, end, num_steps, steps_per_epoch) for end in ends] == pytest.approx([0.1, 0.01])


def test_ssdlites_60_epochs_are_300_passes():
    """Steps after 36, 50 and 56 epochs of five passes; a warm-up of 500 iterations of 512 images."""
    config = config_of("coco/ssdlite_adapt")
    assert config.train.epochs == 60 * 5
    assert config.optimizer.schedule.milestones == [36 * 5, 50 * 5, 56 * 5]
    assert config.optimizer.schedule.warmup * COCO_IMAGES / 512 == pytest.approx(500, abs=1)
    assert config.data.crop == config.model.head["size"]
