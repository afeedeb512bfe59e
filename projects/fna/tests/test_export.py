"""What is exported of FNA++'s networks and frameworks predicts what the trained model predicts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked, generator
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.agreement import agreement
from fbnetv5.export.deployed import deploy, folded
from fbnetv5.export.runtime import decoded
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from fbnetv5.projects.fna.network import FNANetwork
from fbnetv5.projects.fna.tests.networks import mobile, randomise, residual

DETECTORS: dict[str, dict[str, Any]] = {
    "retinanet.RetinaNet": {"hidden_channels": 16, "num_convs": 1, "num_detections": 30},
    "ssdlite.SSDLite": {"size": 96, "last_channels": 16, "extra_channels": (16, 16, 8, 8), "num_detections": 30},
}
MIDDLE = {"retinanet.RetinaNet": 0.8, "ssdlite.SSDLite": 0.284}  # scores that some detections have
LAST_LAYERS = ("cls_logits.weight", "bbox_reg.weight", "scores.weight", "heatmaps.weight")
SIZE = (96, 160)


def model(head: str, architecture: Any = "mobilenetv2_035", output_stride: int = 32, **options: Any) -> TaskNet:
    """A model with random weights and BN statistics, and predictions that differ from place to place."""
    spec = ModelSpec(
        family=None,
        topology=None,
        head={"_target_": head, **options},
        classes=("a", "b", "c"),
        input=InputSpec(short_side=64, multiple=32),
        network={
            "_target_": "fbnetv5.projects.fna.network.FNANetwork",
            "architecture": architecture,
            "output_stride": output_stride,
        },
    )
    with forked(0):
        built = build_model(spec)
        randomise(built)
        for name, parameter in built.head.named_parameters():
            if name.endswith(LAST_LAYERS) or "deconvs" in name:
                nn.init.normal_(parameter, std=0.1)
    return built.eval()


def padded_image(height: int, width: int) -> torch.Tensor:
    """An image that covers (height, width) of the input."""
    image = torch.zeros(1, 3, *SIZE)
    image[..., :height, :width] = torch.randn(3, height, width, generator=generator(0))
    return image


@pytest.mark.parametrize(
    "architecture",
    ["mobilenetv2_035", "resnet18", "fbnetc_100", mobile().to_dict(), residual("bottleneck").to_dict()],
    ids=["mobilenetv2", "resnet18", "fbnetc", "mobile", "bottleneck"],
)
@pytest.mark.parametrize("output_stride", [32, 8])
@torch.no_grad()
def test_networks_compute_the_same_without_batch_normalisation(architecture: Any, output_stride: int):
    with forked(0):
        network = randomise(FNANetwork(architecture, output_stride))
    result = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
    image = torch.randn(1, 3, 65, 97, generator=generator(0))
    expected = network(image)
    for path, feature in result(image).items():
        deviation = (feature - expected[path]).norm() / expected[path].std(dim=(2, 3)).norm()
        assert deviation < 1e-3, path  # of what differs between positions


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("covered", [SIZE, (70, 160), (96, 40)])
@pytest.mark.parametrize("threshold", [0.0, None, 1.0])
@torch.no_grad()
def test_detectors_find_the_same(name: str, covered: tuple[int, int], threshold: float | None):
    threshold = MIDDLE[name] if threshold is None else threshold
    detector = model(f"fbnetv5.projects.fna.heads.{name}", score_threshold=threshold, **DETECTORS[name])
    features, stored = detector.network(padded_image(*covered)), (300, 280)
    sizes = [(-(-SIZE[0] // stride), -(-SIZE[1] // stride)) for stride in (4, 8, 16, 32)]
    deployed = detector.head.deployed(SIZE, sizes)
    (expected,) = detector.head(features, SIZE, true_sizes=[covered], output_sizes=[stored])
    outputs = deployed(features, torch.tensor(covered).float())
    count = int(outputs["count"])
    found = decoded(detector.head.target.kind, outputs, covered, stored)
    assert (len(expected["scores"]) == 30) == (threshold == 0)
    assert (len(expected["scores"]) == 0) == (threshold == 1)
    assert torch.equal(found["box_labels"], expected["box_labels"])
    torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
    assert all(not outputs[key][count:].any() for key in ("boxes", "box_labels", "scores"))
    assert deployed.thresholds["score"] == threshold


@pytest.mark.parametrize("name", DETECTORS)
@torch.no_grad()
def test_whole_detectors_agree(name: str):
    detector = model(f"fbnetv5.projects.fna.heads.{name}", **DETECTORS[name])
    image = padded_image(70, 160)
    (expected,) = detector(image, true_sizes=[(70, 160)])
    found = decoded(detector.head.target.kind, deploy(detector, SIZE)(image), (70, 160), (70, 160))
    differences = agreement(detector.head.target.kind, [expected], [found])
    assert len(expected["scores"]) > 0
    assert differences["max_score_difference"] < 1e-3
    assert differences["max_box_difference"] < 0.1


@torch.no_grad()
def test_segmentation_is_the_same():
    segmenter = model("fbnetv5.projects.fna.heads.deeplab.DeepLabV3", output_stride=16, hidden_channels=16)
    image = padded_image(*SIZE)
    outputs = deploy(segmenter, SIZE)(image)
    ((classes, confidence),) = segmenter.head.classify(segmenter.network(image), SIZE)
    assert len(classes.unique()) > 1
    assert (outputs["segmentation"] == classes).float().mean() > 0.999
    torch.testing.assert_close(outputs["confidence"], confidence, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("covered", [SIZE, (70, 160), (96, 40)])
@torch.no_grad()
def test_keypoints_are_the_same(covered: tuple[int, int]):
    pose = model("fbnetv5.heads.simple_baseline.SimpleBaseline", "resnet18", hidden_channels=16)
    deployed, image = deploy(pose, SIZE), padded_image(*covered)
    (expected,) = pose(image, true_sizes=[covered], output_sizes=[(300, 280)])
    found = decoded(pose.head.target.kind, deployed(image), covered, (300, 280))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert found[:, 2].max() > 0
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())


def test_features_of_other_strides_are_refused():
    detector = model("fbnetv5.projects.fna.heads.retinanet.RetinaNet", output_stride=16, hidden_channels=16)
    with pytest.raises(InputError, match="stride 32 on path 3"):
        deploy(detector, SIZE)
