"""What is exported predicts what the trained model predicts, before any format comes into it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.functional import conv2d

from fbnetv5.archs.families import FAMILIES, Family
from fbnetv5.archs.fusion import to_higher_resolution
from fbnetv5.archs.trunk_weights import PACKAGES
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import TargetKind
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.agreement import agreement
from fbnetv5.export.deployed import covered_size, deploy, folded
from fbnetv5.export.inputs import fitted, input_size
from fbnetv5.export.network import group_means
from fbnetv5.export.parts import candidate_parts, is_quantised
from fbnetv5.export.runtime import decoded
from tests.export.models import random_model

ODD = {"A": (80, 112), "A_C": (96, 160)}  # A has features of 11x15 and 6x8 at strides 8 and 16 here


def photo(height: int, width: int, seed: int = 0) -> Tensor:
    """An image of random colours."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("family", ODD)
@pytest.mark.parametrize("task", ["cls", "det", "seg"])
@torch.no_grad()
def test_it_predicts_what_the_trained_model_does(family: str, task: str):
    size = ODD[family] if task != "cls" else (64, 64)
    model = random_model(task, family)
    deployed = deploy(model, size)
    for seed, stored in enumerate(((90, 130), (100, 90))):  # the second is padded on the right
        image = photo(*stored, seed=seed)
        prepared, covered = fitted(image, model.spec.input, size)
        (expected,) = model(prepared, true_sizes=[covered], output_sizes=[stored])
        outputs = deployed(prepared)
        if task == "seg":
            (expected,) = model(prepared)
            assert torch.equal(outputs["segmentation"], expected)
            (_, confidence), *_ = model.head.classify(model.network(prepared), size)
            assert torch.allclose(outputs["confidence"], confidence, atol=1e-4)
            continue
        found = decoded(model.head.target.kind, outputs, covered, stored)
        differences = agreement(model.head.target.kind, [expected], [found])
        assert differences.pop("max_box_difference", 0) < 0.1
        assert differences.pop("unmatched_boxes", 0) == 0
        assert differences["max_score_difference"] < 1e-4
        if task == "det":
            assert int(outputs["count"]) == len(expected["scores"])


@torch.no_grad()
def test_a_coarse_map_is_that_of_a_smaller_image_enlarged():
    model, size = random_model("seg"), (96, 160)
    image, _ = fitted(photo(90, 130), model.spec.input, size)
    outputs = deploy(model, size, map_stride=4)(image)
    ((classes, confidence),) = model.head.classify(model.network(image), (24, 40))  # the same features
    assert torch.equal(outputs["segmentation"], classes.repeat_interleave(4, 0).repeat_interleave(4, 1))
    assert outputs["confidence"].shape == size
    assert torch.allclose(outputs["confidence"][1::4, 2::4], confidence, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "stride", "said"), [("cls", 2, "gives none"), ("seg", 5, "does not divide the input of 96 x 160")]
)
def test_a_stride_of_maps_that_does_not_fit_is_refused(task: str, stride: int, said: str):
    with pytest.raises(InputError, match=said):
        deploy(random_model(task), (96, 160), map_stride=stride)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(7, 3), (12, 4), (5, 4), (10, 7), (3, 5)])
def test_a_convolution_averages_groups_of_channels(in_channels: int, out_channels: int):
    x = torch.randn(1, in_channels, 3, 5)
    expected = to_higher_resolution(x, out_channels, (3, 5))
    assert torch.allclose(conv2d(x, group_means(in_channels, out_channels)), expected, atol=1e-6)


@torch.no_grad()
def test_places_of_detections_that_are_not_used_are_zeros():
    image = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    outputs = deploy(random_model("det"), (96, 160))(image)
    count = int(outputs["count"])
    assert 0 < count < len(outputs["scores"]) == 24  # 8 proposals of 3 classes
    assert all(not outputs[name][count:].any() for name in ("boxes", "box_labels", "scores"))
    assert (outputs["scores"][:count].diff() <= 0).all()


@torch.no_grad()
def test_keypoints_come_back_in_stored_pixels():
    outputs = {"keypoints": torch.tensor([[40.0, 10, 0.5], [80, 60, 1]])}
    found = decoded(TargetKind.KEYPOINTS, outputs, (60, 80), (120, 240))
    assert found.tolist() == [[120, 20, 0.5], [240, 120, 1]]
    other = found + torch.tensor([1.0, -3, 0.25])
    differences = agreement(TargetKind.KEYPOINTS, [found, found], [found, other])
    assert differences == {"max_score_difference": 0.25, "max_point_difference": 3}


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        (TargetKind.SCALAR, lambda score: torch.tensor([0.5, score])),
        (TargetKind.MASK, lambda score: (torch.zeros(2, 2, dtype=torch.uint8), torch.full((2, 2), score))),
        (
            TargetKind.BOXES,
            lambda score: {
                "boxes": torch.tensor([[0.0, 0, 4, 4]]),
                "box_labels": torch.tensor([0]),
                "scores": torch.tensor([score]),
            },
        ),
        (TargetKind.KEYPOINTS, lambda score: torch.tensor([[1.0, 1, score]])),
    ],
)
def test_what_is_no_number_agrees_with_nothing(kind, of):
    expected, found = [of(0.25), of(0.5)], [of(0.5), of(torch.nan)]
    assert math.isnan(agreement(kind, expected, found)["max_score_difference"])
    assert agreement(kind, expected, [of(0.5), of(0.5)])["max_score_difference"] == 0.25


class Layers(nn.Module):
    """BN wherever it may stand: before, after, and not next to a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(3)
        self.up = nn.ConvTranspose2d(3, 6, 4, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(6, 4, 3, groups=2)
        self.activation = nn.ReLU()
        self.after = nn.BatchNorm2d(4)
        self.last = nn.Sequential(nn.Conv2d(4, 4, 1), BatchNormAct2d(4, act_layer=nn.ReLU6))
        self.grouped = nn.Sequential(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.norm(self.up(self.before(x))))
        return self.grouped(self.last(self.after(self.activation(x))))


@torch.no_grad()
def test_batch_normalisation_is_folded_where_it_follows_a_convolution():
    torch.manual_seed(0)
    layers = Layers().eval()
    for module in layers.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 2)
    x = torch.randn(2, 3, 9, 7)
    result = folded(layers)
    torch.testing.assert_close(result(x), layers(x))
    left = {name for name, module in result.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert left == {"before", "after", "grouped.1"}


def test_padding_is_recognised():
    assert covered_size(torch.ones(1, 3, 7, 9)).tolist() == [7, 9]
    image = torch.zeros(1, 3, 7, 9)
    image[..., :4, :6] = -0.3
    assert covered_size(image).tolist() == [4, 6]
    assert covered_size(torch.zeros(1, 3, 7, 9)).tolist() == [0, 0]


def test_no_pixel_of_an_image_looks_like_padding():
    values = torch.arange(256, dtype=torch.uint8).expand(3, 2, 256).clone()
    prepared, _ = fitted(values, InputSpec(short_side=2), (2, 256))
    assert (prepared != 0).all()


def test_padding_is_told_from_an_image_that_holds_its_colour():
    """As the mean of EfficientNet-Lite's ImageNet weights, 127 of 255, is a colour that pixels have."""
    spec = InputSpec(short_side=64, long_side=96, multiple=32).normalised_with(
        PACKAGES["efficientnet_lite0"].normalisation
    )
    image = photo(128, 160)
    image[:, 30:40] = 127
    prepared, covered = fitted(image, spec, (64, 96))
    assert covered_size(prepared).tolist() == list(covered)
    image[:, 100:] = 127
    assert covered_size(fitted(image, spec, (64, 96))[0]).tolist() == [51, 80]  # of 64: 50, and one that resizing mixes


def test_images_are_fitted_as_the_trained_model_sees_them_or_smaller():
    spec = InputSpec(short_side=64, long_side=96, multiple=32)
    prepared, covered = fitted(photo(128, 160), spec, (64, 96))
    assert covered == (64, 80)
    assert prepared.shape == (1, 3, 64, 96)
    assert torch.equal(prepared[0, :, :, :80], spec.prepare(photo(128, 160)))
    assert not prepared[0, :, :, 80:].any()
    assert fitted(photo(160, 128), spec, (64, 96))[1] == (64, 51)  # an upright image has to shrink


def stand_in(spec: InputSpec, family: Family | None = None) -> SimpleNamespace:
    """What a final model says of its input."""
    return SimpleNamespace(spec=SimpleNamespace(input=spec), network=SimpleNamespace(family=family))


def test_sizes_that_the_model_does_not_see_are_refused():
    model = stand_in(InputSpec(short_side=64, multiple=32))
    assert input_size(model, None) == (64, 64)
    assert input_size(model, None, [(100, 140), (100, 141), (140, 100)]) == (64, 96)  # what most are padded to
    assert input_size(model, [96, 64]) == (96, 64)
    for wanted, message in (([64], "should be"), ([64, 65], "multiples of 32"), ([16, 64], "each 32 to")):
        with pytest.raises(InputError, match=message):
            input_size(model, wanted)
    with pytest.raises(InputError, match="trained on crops of 64 x 64"):
        input_size(stand_in(InputSpec(short_side=70, crop=64)), [96, 96])


def test_sizes_leave_a_pixel_on_every_path():
    model = stand_in(InputSpec(short_side=320, long_side=320, multiple=32), FAMILIES["A"])
    assert input_size(model, None, [(320, 3200)]) == (64, 320)
    with pytest.raises(InputError, match=r"export.size=\[32, 320\] is too small for this network: \[64, 320\] or more"):
        input_size(model, [32, 320])


def test_layers_are_quantised_and_what_is_between_them_is_not():
    parts = candidate_parts(deploy(random_model("det"), (64, 64)))
    assert {"network.trunk.0", "head.rpn.head", "head.roi.box_head", "head.roi.box_predictor"} <= set(parts)
    assert all(is_quantised(name, []) for name in ("network.trunk.0.0.conv", "head.rpn.head"))
    assert not any(is_quantised(name, []) for name in ("network", "head", ""))
    assert not is_quantised("network.trunk.0.0.conv", ["network.trunk.0"])
    assert is_quantised("network.trunk.01", ["network.trunk.0"])
