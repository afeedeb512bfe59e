"""Families that are read off timm's modules: timm's own features and fvcore's own counts."""

from __future__ import annotations

import fnmatch

import pytest
import timm
import torch
from torch import nn

from fbnetv5.archs.cost import Cost, feature_sizes, measured_macs, network_cost
from fbnetv5.archs.families import FAMILIES, get_family
from fbnetv5.archs.family import Layer
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.timm_networks import read_network
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.archs.trunk_weights import load_trunk_weights
from fbnetv5.base.errors import InputError
from tests.archs.timm_models import random_model
from tests.on_request import ON_REQUEST

PATTERNS = (
    "mobilenetv2_*",
    "mobilenetv3_*",
    "fbnetc_100",
    "fbnetv3_?",
    "mnasnet_*",
    "semnasnet_*",
    "spnasnet_100",
    "efficientnet_b?",
    "efficientnet_lite?",
    "efficientnet_es",
    "efficientnetv2_s",
    "tf_efficientnet_lite?",
    "tf_mobilenetv3_small_*",
    "tinynet_?",
    "mobilenetv4_conv_*",
    "hardcorenas_?",
)
REFUSED = ("mobilenetv4_conv_aa_large", "mobilenetv4_conv_aa_medium", "mobilenetv4_conv_blur_medium")
NAMES = [
    name
    for name in timm.list_models()
    if any(fnmatch.fnmatch(name, pattern) for pattern in PATTERNS) and name not in REFUSED
]
# One of each kind of layer.
QUICK = (
    "mobilenetv2_035",  # ReLU6
    "mobilenetv3_small_050",  # several activations, squeeze-excitation, a 1x1 convolution after the last block
    "fbnetc_100",  # an expansion of 1, another epsilon
    "efficientnet_lite0",
    "tf_efficientnet_lite0",  # TensorFlow's padding
    "tinynet_e",  # a partition of one layer, a size that is no multiple of 32
    "mobilenetv4_conv_small_035",  # convolutions, universal inverted residuals
    "efficientnet_es",  # the expansion is the spatial convolution
)
# One of each pattern is slow, and the others take minutes: `make test-all` takes them.
SLOW = {next(name for name in NAMES if fnmatch.fnmatch(name, pattern)) for pattern in PATTERNS} - set(QUICK)
LINEAR = named_topology("linear", 1)


def test_the_networks_that_are_compared():
    """Of every pattern there is one; timm may have more of a kind in another version."""
    assert set(QUICK) <= set(NAMES)
    assert all(any(fnmatch.fnmatch(name, pattern) for name in NAMES) for pattern in PATTERNS)


def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    """Whether a network is tested always, with what is slow, or on request."""
    return () if name in QUICK else (pytest.mark.slow,) if name in SLOW else (ON_REQUEST,)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in NAMES])
def test_features_and_costs_are_timms(name, tmp_path):
    """The linear network against timm's own list of features, and its costs against fvcore's count."""
    model = random_model(name, features_only=True)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    family = get_family(f"timm/{name}")
    network = MultiPathNet(family, LINEAR).eval()
    load_trunk_weights(network, str(tmp_path / "weights.pth"))
    size = (96, 73)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        features, expected = network(images), model(images)[1:]
    assert [tuple(features[path].shape[-2:]) for path in range(4)] == list(feature_sizes(family, size))
    features[3] = of_the_classifier(model)(features[3])
    for path in range(4):
        scale = max(1.0, float(expected[path].abs().max()))
        assert torch.allclose(features[path], expected[path], atol=1e-5 * scale, rtol=0)
    params = sum(parameter.numel() for parameter in network.parameters())
    assert network_cost(family, LINEAR, size) == Cost(measured_macs(network, images), params)


def of_the_classifier(model: nn.Module) -> nn.Module:
    """The 1x1 convolutions after the last block, which timm counts to its last feature and a trunk leaves out."""
    blocks = [block for group in model.blocks for block in group]
    count = 0
    while type(blocks[-1 - count]).__name__ == "ConvBnAct" and blocks[-1 - count].conv.kernel_size == (1, 1):
        count += 1
    return nn.Sequential(*blocks[len(blocks) - count :]).requires_grad_(False)


@pytest.mark.parametrize("name", QUICK)
def test_blocks_cost_what_fvcore_counts(name):
    family, topology, size = get_family(f"timm/{name}"), Topology.full(1), (96, 129)
    network = MultiPathNet(family, topology)
    params = sum(parameter.numel() for parameter in network.parameters())
    assert network_cost(family, topology, size) == Cost(measured_macs(network, torch.zeros(1, 3, *size)), params)


@pytest.mark.parametrize(("ours", "theirs"), [("A", "fbnetv3_b"), ("D", "fbnetv3_d"), ("G", "fbnetv3_g")])
def test_tables_are_timms_fbnetv3_but_for_paddings(ours, theirs):
    def widths(layer: Layer) -> tuple[int, ...]:
        squeezed = layer.squeezed_channels if layer.squeeze_excite else 0
        return layer.kernel, layer.in_channels, layer.out_channels, layer.stride, layer.expanded_channels, squeezed

    layers = [widths(layer) for part in FAMILIES[ours].partitions for layer in part]
    assert layers == [widths(layer) for layer in read_network(theirs).layers]


def test_a_partition_of_one_layer_repeats_it():
    family = get_family("timm/tinynet_e")
    assert len(family.partitions[1]) == 1
    first, second = family.block(1)
    assert first == second
    assert (first.in_channels, first.out_channels, first.stride, first.has_residual) == (24, 24, 1, True)


def test_no_block_is_made_after_the_layer_that_reads_the_image():
    family = get_family("timm/mobilenetv3_small_050")
    assert len(family.partitions[0]) == 2
    assert [layer.operator for layer in family.block(0)] == ["ir", "ir"]


def test_reading_leaves_the_global_generator_alone():
    read_network.cache_clear()
    before = torch.random.get_rng_state()
    read_network("mobilenetv2_050")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite9", "timm has no network 'efficientnet_lite9'; did you mean 'efficientnet_lite"),
        ("efficientnet_lite0.nonsense", "timm has no network 'efficientnet_lite0.nonsense'"),
        ("resnet18", "resnet18 is no network of mobile blocks: ResNet"),
        ("mobilenetv4_conv_aa_medium", "blocks.0.0 is a EdgeResidual that no layer of ours is: its aa"),
        ("mobilenetv4_hybrid_medium", "blocks.1.0 is a UniversalInvertedResidual"),
        ("mixnet_s", "blocks.1.0 is a InvertedResidual that no layer of ours is: its conv_pw"),
        ("lcnet_050", "blocks.0.0 is a DepthwiseSeparableConv"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, message):
    with pytest.raises(InputError) as caught:
        get_family(f"timm/{name}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
