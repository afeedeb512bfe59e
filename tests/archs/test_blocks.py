from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fbnetv5.archs.blocks import build_layer, build_layers
from fbnetv5.archs.cost import output_size
from fbnetv5.archs.families import FAMILIES, Layer

LAYERS = sorted({layer for family in FAMILIES.values() for part in family.partitions for layer in part}, key=str)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_layer_of_every_family_has_the_shape_its_row_says(layer):
    module = build_layer(layer).eval()
    with torch.no_grad():
        y = module(torch.zeros(1, layer.in_channels, 13, 10))
    assert y.shape == (1, layer.out_channels, *output_size((13, 10), layer))
    strides = [conv.stride for conv in module.modules() if isinstance(conv, nn.Conv2d)]
    assert strides.count((layer.stride, layer.stride)) >= 1
    assert any(isinstance(inner, nn.Hardsigmoid) for inner in module.modules()) == layer.squeeze_excite


def test_padding_concerns_the_depthwise_convolution_alone():
    module = build_layer(Layer("ir", 5, 8, 8, 2, 3, False, 1))
    assert (module.conv_pw.padding, module.conv_dw.padding, module.conv_pwl.padding) == ((0, 0), (1, 1), (0, 0))


@pytest.mark.parametrize("expansion", [1, 3])
def test_residual_adds_the_input(expansion):
    module = build_layer(Layer("ir", 3, 8, 8, 1, expansion, True, 1)).eval()
    last_bn = [inner for inner in module.modules() if isinstance(inner, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last_bn.weight)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(module(x), x)


def test_inverted_residual_against_its_definition():
    """Expand, depthwise, squeeze-excite, project: written out with torch's functions."""
    torch.manual_seed(0)
    layer = Layer("ir", 3, 8, 12, 2, 3, True, 0)
    m = build_layer(layer).eval()
    x = torch.randn(2, 8, 9, 9)
    se = m.se
    y = F.hardswish(m.bn1.bias[:, None, None] + F.conv2d(x, m.conv_pw.weight) / (1 + 1e-5) ** 0.5)
    y = F.hardswish(F.conv2d(y, m.conv_dw.weight, stride=2, groups=24) / (1 + 1e-5) ** 0.5)
    s = F.hardswish(F.linear(y.mean((2, 3)), se.conv_reduce.weight[:, :, 0, 0], se.conv_reduce.bias))
    s = F.hardsigmoid(F.linear(s, se.conv_expand.weight[:, :, 0, 0], se.conv_expand.bias))
    y = F.conv2d(y * s[:, :, None, None], m.conv_pwl.weight) / (1 + 1e-5) ** 0.5
    assert torch.allclose(m(x), y, atol=1e-5)


def test_layers_are_built_in_order():
    layers = FAMILIES["NANO"].partitions[0]
    assert [type(module).__name__ for module in build_layers(layers)] == [
        "ConvBnAct",
        "InvertedResidual",
        "DepthwiseSeparableConv",
    ]
