"""Mobile networks of timm's, read off its own modules: layers, the names of their parameters, what images they take.

Reading needs no weights: timm builds the network without memory, and every layer is built again from what was read and
held against timm's. What no :class:`~fbnetv5.archs.family.Layer` describes (attention, mixed kernels, pooling in
the place of a stride, ...) is refused by name.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import timm
import torch
from timm.layers import Conv2dSame
from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    SqueezeExcite,
    UniversalInvertedResidual,
)
from torch import nn

from fbnetv5.archs.blocks import ACTIVATIONS, build_layer
from fbnetv5.archs.family import STRIDES, Activation, Family, Layer, Operator
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.normalisation import Normalisation

PREFIX = "timm/"
STEM = ("conv_stem", "bn1")  # timm's names of a network's first convolution and its batch normalisation
BN_EPSILON = {"fbnetc_100": 1e-3}
"""Of networks for whose pretrained weights timm takes another than without them."""
_NAMES: dict[type[nn.Module], Activation] = {module: name for name, module in ACTIVATIONS.items()}


class _Parts(NamedTuple):
    """Names within a block of timm's: of its first, spatial and last convolution, and its first BN with activation."""

    operator: Operator
    first: str
    spatial: str
    last: str
    bn: str


_PARTS: dict[type[nn.Module], _Parts] = {
    ConvBnAct: _Parts("conv", "conv", "conv", "conv", "bn1"),
    DepthwiseSeparableConv: _Parts("ir", "conv_dw", "conv_dw", "conv_pw", "bn1"),
    InvertedResidual: _Parts("ir", "conv_pw", "conv_dw", "conv_pwl", "bn1"),
    EdgeResidual: _Parts("edge", "conv_exp", "conv_exp", "conv_pwl", "bn1"),
    UniversalInvertedResidual: _Parts("universal", "pw_exp.conv", "dw_mid.conv", "pw_proj.conv", "pw_exp.bn"),
}


@dataclass(frozen=True)
class TimmNetwork:
    """A network of timm's, without its weights.

    Attributes:
        name: timm's, perhaps with the tag of its weights.
        layers: from the first convolution to the last block; 1x1 convolutions after that are the classifier's.
        names: timm's of each layer; the first's is None, as its parts are called ``conv_stem`` and ``bn1``.
        shapes: of all its tensors by name, in order; the classifier's too.
        input_size: side in pixels of the images that it is published for.
        normalisation: of the images that its weights were trained on.
        has_weights: whether timm knows where pretrained ones are.
    """

    name: str
    layers: tuple[Layer, ...]
    names: tuple[str | None, ...]
    shapes: dict[str, tuple[int, ...]]
    input_size: int
    normalisation: Normalisation
    has_weights: bool


def timm_family(name: str) -> Family:
    """Return the family of a network, ``timm/`` and its name: partitions end where the stride rises.

    Raises:
        InputError: timm has no such network, or it does not fit; the message says which layer.
    """
    network = read_network(name.removeprefix(PREFIX))
    return Family(name, network.input_size, _partitions(network), network.name)


@functools.cache
def read_network(name: str) -> TimmNetwork:
    """Read a network of timm's.

    Raises:
        InputError: timm has no such network, or it does not fit; the message says which layer.
    """
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known or (tag and name not in timm.list_models(pretrained=True)):
        raise InputError(f"timm has no network '{name}'{nearest(name, known)}")
    epsilon = BN_EPSILON.get(architecture)
    with torch.device("meta"):
        try:
            model: Any = timm.create_model(name) if epsilon is None else timm.create_model(name, bn_eps=epsilon)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"timm cannot build {name}: {' '.join(str(error).split())}") from error
        layers, names = _read_layers(model, name)
    about = model.pretrained_cfg
    return TimmNetwork(
        name,
        tuple(layers),
        tuple(names),
        {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()},
        int(about["input_size"][-1]),
        Normalisation(tuple(about["mean"]), tuple(about["std"])),
        bool(timm.models.PretrainedCfg(**about).has_weights),
    )


def _read_layers(model: Any, name: str) -> tuple[list[Layer], list[str | None]]:
    """Return the layers of a network and their names, checked against timm's modules."""
    stem = [getattr(model, part, None) for part in STEM]
    if not isinstance(getattr(model, "blocks", None), nn.Sequential) or not all(stem):
        raise InputError(f"timm's {name} is no network of mobile blocks: {type(model).__name__} has other parts")
    first = ConvBnAct(3, 1, 1)
    first.conv, first.bn1 = stem
    modules: list[tuple[str | None, nn.Module]] = [(None, first)]
    modules += [
        (f"blocks.{group}.{index}", block)
        for group, blocks in enumerate(model.blocks)
        for index, block in enumerate(blocks)
    ]
    while len(modules) > 1 and isinstance(modules[-1][1], ConvBnAct) and modules[-1][1].conv.kernel_size == (1, 1):
        modules.pop()
    layers = [_read_layer(module, f"timm's {name}: {where or STEM[0]}") for where, module in modules]
    return layers, [where for where, _ in modules]


def _read_layer(module: Any, where: str) -> Layer:
    """Return the layer that a module is. Raises InputError, which starts with ``where``, if there is none."""
    refusal = f"{where} is a {type(module).__name__} that no layer of ours is"
    if type(module) not in _PARTS:
        raise InputError(f"{refusal}; choose another network")
    try:
        layer = _described(module, _PARTS[type(module)])
    except (AttributeError, KeyError) as error:
        raise InputError(f"{refusal}: {error}; choose another network") from error
    ours, theirs = _signature(build_layer(layer)), _signature(module)
    for part in dict.fromkeys([*ours, *theirs]):
        if ours.get(part) != theirs.get(part):
            raise InputError(f"{refusal}: its {part or 'shortcut'} differs; choose another network")
    return layer


def _described(module: Any, parts: _Parts) -> Layer:
    """Return the layer that a module most resembles. Raises AttributeError or KeyError where a part is of no kind."""
    operator = parts.operator
    universal = operator == "universal"
    start = _kernel(module, "dw_start.conv") if universal else 0
    kernel = _kernel(module, parts.spatial)
    spatial_name = parts.spatial if kernel else "dw_start.conv" if start else parts.first
    first, spatial, last = (module.get_submodule(name) for name in (parts.first, spatial_name, parts.last))
    bn: Any = module.get_submodule(parts.bn)
    squeeze: Any = getattr(module, "se", None)
    squeezes = isinstance(squeeze, SqueezeExcite)
    expansion = 1 if operator == "conv" else last.in_channels / first.in_channels
    if isinstance(module, InvertedResidual) and expansion == 1:
        operator = "expanded_ir"
    usual = operator != "conv" and spatial.stride[0] == 1 and first.in_channels == last.out_channels
    return Layer(
        operator,
        kernel,
        first.in_channels,
        last.out_channels,
        spatial.stride[0],
        expansion,
        squeezes,
        (spatial.kernel_size[0] // 2) if isinstance(spatial, Conv2dSame) else spatial.padding[0],
        start_kernel=start,
        activation=_NAMES[type(bn.act)],
        squeezed=squeeze.conv_reduce.out_channels if squeezes else None,
        squeeze_activation=_NAMES[type(squeeze.act1)] if squeezes else "hard_swish",
        gate=_NAMES[type(squeeze.gate)] if squeezes else "hard_sigmoid",
        residual=None if module.has_skip == usual else module.has_skip,
        bn_epsilon=bn.eps,
        pads_like_tensorflow=any(isinstance(child, Conv2dSame) for child in module.modules()),
    )


def _kernel(module: Any, name: str) -> int:
    """Return the side of a convolution's kernel, 0 where there is none."""
    conv = module
    for part in name.split("."):
        conv = getattr(conv, part, None)
    return conv.kernel_size[0] if isinstance(conv, nn.Conv2d) else 0


def _signature(module: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Return what each part of a module computes, but for its weights, by name."""
    parts: dict[str, tuple[Any, ...]] = {}
    for name, part in module.named_modules():
        described: tuple[Any, ...] = (type(part), getattr(part, "has_skip", None))
        if isinstance(part, nn.Conv2d):
            geometry = (part.kernel_size, part.stride, part.padding, part.dilation, part.groups)
            described += (tuple(part.weight.shape), *geometry, part.bias is None)
        elif isinstance(part, nn.BatchNorm2d):
            described += (part.num_features, part.eps, part.affine)
        parts[name] = described
    return parts


def _partitions(network: TimmNetwork) -> tuple[tuple[Layer, ...], ...]:
    """Cut a network's layers where the stride rises above 4, 8 and 16."""
    partitions: list[list[Layer]] = [[]]
    stride = 1
    for layer in network.layers:
        stride *= layer.stride
        if layer.stride > 1 and stride > STRIDES[0]:
            partitions.append([])
        partitions[-1].append(layer)
    reached = _strides(partitions)
    if reached != STRIDES:
        raise InputError(
            f"timm's {network.name} has features of strides {', '.join(map(str, reached))}, not of "
            f"{', '.join(map(str, STRIDES))}; choose another network"
        )
    return tuple(map(tuple, partitions))


def _strides(partitions: Sequence[Sequence[Layer]]) -> tuple[int, ...]:
    """Return the stride that each partition ends with."""
    stride, reached = 1, []
    for layers in partitions:
        for layer in layers:
            stride *= layer.stride
        reached.append(stride)
    return tuple(reached)
