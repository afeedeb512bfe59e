"""The backbone: timm's numbers, timm's names, and the published costs."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fbnetv5.archs.cost import measured_macs
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.network import FNANetwork, architecture_cost, get_architecture
from fbnetv5.projects.fna.tests.networks import images, map_blocks, mobile, randomise, residual

TIMM_MODELS = ("mobilenetv2_100", "mobilenetv2_035", "resnet18", "resnet50", "fbnetc_100")
EVERY_KIND = (mobile(), residual("basic"), residual("bottleneck"))


def timm_features(name: str, output_stride: int = 32) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        epsilon = {"bn_eps": 1e-3} if name == "fbnetc_100" else {}  # as timm sets it with its pretrained weights
        model = timm.create_model(
            name, features_only=True, output_stride=output_stride, out_indices=(1, 2, 3, 4), **epsilon
        )
    return randomise(model)


@pytest.mark.parametrize(
    ("name", "output_stride"), [*((name, 32) for name in TIMM_MODELS), ("mobilenetv2_100", 8), ("resnet18", 8)]
)
def test_features_are_timms(name: str, output_stride: int):
    theirs, ours = timm_features(name, output_stride), FNANetwork(name, output_stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)  # the same names and shapes
    x = images(65, 33)
    with torch.no_grad():
        expected, features = theirs(x), ours(x)
    assert list(features) == [0, 1, 2, 3]
    assert ours.strides == tuple(theirs.feature_info.reduction())
    assert ours.channels == tuple(theirs.feature_info.channels())
    for path, feature in features.items():
        torch.testing.assert_close(feature, expected[path])


@pytest.mark.parametrize(
    ("name", "macs", "params", "head"),
    # MACs at 224 x 224 and parameters with the classifier, in millions, as the networks' papers print them, and the
    # width of the convolution before the classifier. Proxyless: 4,080,512 parameters in the public implementations.
    [
        ("mobilenetv2_100", 300, 3.4, 1280),
        ("fbnetc_100", 375, 5.5, 1984),
        ("proxyless_mobile", 320, 4.080512, 1280),
        ("resnet18", 1800, 11.7, 0),
        ("resnet50", 4100, 25.6, 0),
    ],
)
def test_costs_are_the_published_ones(name: str, macs: float, params: float, head: int):
    architecture = get_architecture(name)
    cost = architecture_cost(architecture, (224, 224))
    out = architecture.channels[3]
    classifier = (head or out) * 1000
    total_params = cost.params + classifier + 1000 + out * head + 2 * head
    assert (cost.macs + classifier + 49 * out * head) / 1e6 == pytest.approx(macs, rel=0.03)
    assert total_params / 1e6 == pytest.approx(params, rel=0.04)
    if name == "proxyless_mobile":
        assert total_params == 4_080_512
    else:
        assert total_params == sum(p.numel() for p in timm.create_model(name).parameters())


@pytest.mark.parametrize("architecture", EVERY_KIND, ids=["mobile", "basic", "bottleneck"])
@pytest.mark.parametrize("output_stride", [32, 8])
def test_costs_are_what_is_measured(architecture: Architecture, output_stride: int):
    if architecture.is_residual:
        architecture = map_blocks(architecture, kernel=5, groups=4, expansion=0.5)
    network = FNANetwork(architecture.to_dict(), output_stride)
    size = (65, 96)
    assert network.macs(size) == measured_macs(network, torch.zeros(1, 3, *size))
    assert architecture_cost(architecture, size).params == sum(p.numel() for p in network.parameters())


def test_features_have_the_strides_that_are_said():
    network = FNANetwork(mobile().to_dict(), output_stride=16).eval()
    features = network(images(64, 96))
    assert network.strides == (4, 8, 16, 16)
    for path, feature in features.items():
        stride = network.strides[path]
        assert feature.shape == (2, network.channels[path], 64 // stride, 96 // stride)


def test_resolved_options_rebuild_the_network_without_its_file():
    network = FNANetwork("mobilenetv2_035", output_stride=8, freeze_bn=True)
    options = network.resolved_options()
    assert isinstance(options["architecture"], dict)
    again = FNANetwork(**options)
    assert again.architecture == network.architecture
    assert again.resolved_options() == options
    again.load_state_dict(network.state_dict(), strict=True)


def test_frozen_batch_normalisation_stays_as_it_is():
    network = FNANetwork(mobile().to_dict(), freeze_bn=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert network.train().training
    network(images(32, 32))[3].sum().backward()
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, parameter in network.named_parameters() if parameter.ndim == 1}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_batch_normalisation_stays_frozen_when_it_is_synchronised():
    network = convert_sync_batchnorm(FNANetwork("resnet18", freeze_bn=True)).train()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 20
    assert not any(norm.training for norm in norms)


def test_gradients_reach_every_parameter():
    for architecture in EVERY_KIND:
        network = FNANetwork(architecture.to_dict())
        features = network(images(64, 64))
        sum(feature.square().sum() for feature in features.values()).backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
