"""Architectures of timm's mobile networks, from the layers that the core reads off its modules."""

from __future__ import annotations

from fbnetv5.archs.family import Layer
from fbnetv5.archs.timm_networks import PREFIX, TimmNetwork, read_network
from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import BlockSpec, Stem

_KINDS = {"ir": "mbconv", "expanded_ir": "mbconv"}


def timm_network(name: str) -> TimmNetwork:
    """Return the network of timm's called ``name``, which may start with ``timm/``.

    Raises:
        InputError: there is none, or it does not consist of mobile blocks.
    """
    return read_network(name.removeprefix(PREFIX))


def timm_architecture(network: TimmNetwork) -> Architecture:
    """Return the architecture of a network of timm's; its stages are timm's.

    Raises:
        InputError: it has what no architecture of FNA++'s has, such as squeeze-excitation; the message says which.
    """
    stem, *blocks = network.layers
    stages: list[list[BlockSpec]] = []
    for name, layer in zip(network.names[1:], blocks, strict=True):
        _check(layer, stem, f"timm's {network.name}: {name}")
        stage = int(str(name).split(".")[1])
        stages += [[] for _ in range(stage + 1 - len(stages))]
        is_separable = not layer.has_expansion
        stages[stage].append(
            BlockSpec(
                kind="separable" if is_separable else _KINDS[layer.operator],
                channels=layer.out_channels,
                kernel=layer.kernel,
                expansion=None if is_separable else float(layer.expansion),
                stride=layer.stride,
            )
        )
    try:
        return Architecture(
            Stem(stem.out_channels, stem.kernel), tuple(map(tuple, stages)), stem.activation, stem.bn_epsilon
        )
    except ValueError as error:
        raise InputError(f"timm's {network.name} is no architecture of FNA++: {error}") from error


def _check(layer: Layer, stem: Layer, where: str) -> None:
    """Raise InputError where a layer has what no block of FNA++'s has."""
    shapes_allow = layer.stride == 1 and layer.in_channels == layer.out_channels
    unlike = {
        "an operator of another kind": layer.operator not in _KINDS,
        "squeeze-excitation": layer.squeeze_excite,
        "TensorFlow's padding": layer.pads_like_tensorflow,
        "another padding": layer.padding != layer.kernel // 2,
        "another activation than the first layer": layer.activation != stem.activation,
        "another epsilon of BN than the first layer": layer.bn_epsilon != stem.bn_epsilon,
        "no shortcut": shapes_allow and not layer.has_residual,
    }
    for what, found in unlike.items():
        if found:
            raise InputError(f"{where} has {what}, and no block of FNA++ has; choose another network")
