"""From a layer, as data, to a module, on timm's blocks and under timm's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    SqueezeExcite,
    UniversalInvertedResidual,
)
from torch import nn

from fbnetv5.archs.family import Activation, Layer, Operator

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
}


def build_layer(layer: Layer) -> nn.Module:
    """Build one layer, a module from ``[N, layer.in_channels, H, W]`` to ``[N, layer.out_channels, H', W']``.

    H' is ``(H + 2 padding - kernel) // stride + 1``, and W' likewise; padded as TensorFlow does it, H / stride, rounded
    up.
    """
    module = _BUILDERS[layer.operator](layer)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eps = layer.bn_epsilon
    return module


def build_layers(layers: Sequence[Layer]) -> nn.Sequential:
    """Build layers that follow one another."""
    return nn.Sequential(*(build_layer(layer) for layer in layers))


def last_parts(layer: Layer) -> tuple[str, str]:
    """Return the names, within the module, of a layer's last convolution and of the batch normalisation after it."""
    if layer.operator == "universal":
        return "pw_proj.conv", "pw_proj.bn"
    if layer.operator == "conv":
        return "conv", "bn1"
    if layer.operator == "edge":
        return "conv_pwl", "bn2"
    return ("conv_pwl", "bn3") if layer.has_expansion else ("conv_pw", "bn2")


def _conv(layer: Layer) -> nn.Module:
    return ConvBnAct(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        stride=layer.stride,
        pad_type=_pad_type(layer) or layer.padding,
        skip=layer.has_residual,
        act_layer=ACTIVATIONS[layer.activation],
    )


def _inverted_residual(layer: Layer) -> nn.Module:
    # A layer without an expansion has no expansion convolution either.
    expanded = partial(InvertedResidual, exp_ratio=layer.expansion)
    module = (expanded if layer.has_expansion else DepthwiseSeparableConv)(
        layer.in_channels,
        layer.out_channels,
        dw_kernel_size=layer.kernel,
        **_common(layer),
    )
    return _padded(module, layer, module.conv_dw)


def _common(layer: Layer) -> dict[str, Any]:
    """Return the arguments that all of timm's residual blocks take alike."""
    return {
        "stride": layer.stride,
        "pad_type": _pad_type(layer),
        "noskip": not layer.has_residual,
        "act_layer": ACTIVATIONS[layer.activation],
        "se_layer": _squeeze_excite(layer),
    }


def _edge(layer: Layer) -> nn.Module:
    module = EdgeResidual(
        layer.in_channels,
        layer.out_channels,
        exp_kernel_size=layer.kernel,
        exp_ratio=layer.expansion,
        **_common(layer),
    )
    return _padded(module, layer, module.conv_exp)


def _universal(layer: Layer) -> nn.Module:
    module = UniversalInvertedResidual(
        layer.in_channels,
        layer.out_channels,
        dw_kernel_size_start=layer.start_kernel,
        dw_kernel_size_mid=layer.kernel,
        exp_ratio=layer.expansion,
        **_common(layer),
        layer_scale_init_value=None,
    )
    if not layer.kernel and not layer.start_kernel:
        return module
    return _padded(module, layer, (module.dw_mid if layer.kernel else module.dw_start).conv)


_BUILDERS: dict[Operator, Callable[[Layer], nn.Module]] = {
    "conv": _conv,
    "ir": _inverted_residual,
    "expanded_ir": _inverted_residual,
    "edge": _edge,
    "universal": _universal,
}


def _pad_type(layer: Layer) -> str:
    return "same" if layer.pads_like_tensorflow else ""


def _padded(module: nn.Module, layer: Layer, spatial: nn.Conv2d) -> nn.Module:
    """Give a block's spatial convolution its padding; timm's pad_type would pad the 1x1 convolutions too."""
    if not layer.pads_like_tensorflow:
        spatial.padding = (layer.padding, layer.padding)
    return module


def _squeeze_excite(layer: Layer) -> Any:
    """Return what timm's blocks call with a width and an activation, although they ask for a class."""
    if not layer.squeeze_excite:
        return None
    return partial(
        SqueezeExcite,
        rd_channels=layer.squeezed_channels,
        force_act_layer=ACTIVATIONS[layer.squeeze_activation],
        gate_layer=ACTIVATIONS[layer.gate],
    )
