"""Seeds: pretrained networks whose parameters are remapped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fbnetv5.archs.timm_networks import PREFIX
from fbnetv5.archs.trunk_weights import PRETRAINED, TrunkWeights, find_weights, pretrained_weights, read_checkpoint
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.paths import local_path
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.weights import WEIGHTS, read_normalisation, read_origin, read_weights
from fbnetv5.config.targets import present_name
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.blocks import block_convs
from fbnetv5.projects.fna.network import get_architecture, is_timm_mobile
from fbnetv5.projects.fna.timm_architecture import timm_network
from fbnetv5.projects.fna.weights import network_shapes, select_weights

RESIDUAL_SEEDS = ("resnet18", "resnet50")  # those of ``architectures/`` that timm has weights of
NETWORK_CLASS = "fbnetv5.projects.fna.network.FNANetwork"
_CLASSIFIERS = ("conv_head", "bn2", "classifier", "fc")  # timm's, after the last block
_PROXYLESS_CONVS = ("inverted_bottleneck", "depth_conv", "point_linear")
_MAX_LISTED = 5


@dataclass(frozen=True)
class Seed:
    """An architecture and its trained tensors, by the names of ``FNANetwork``; the classifier is left out.

    Attributes:
        architecture: of the network.
        weights: parameters and BN statistics by name.
        origin: where they come from, for messages.
        normalisation: of the images that they expect.
        first: where they started from, for what is trained from them.
    """

    architecture: Architecture
    weights: dict[str, Tensor]
    origin: str
    normalisation: Normalisation = IMAGENET
    first: Origin | None = None


def load_seed(name: str, weights: str | None = None) -> Seed:
    """Read a seed.

    Args:
        name: a mobile network of timm's (mobilenetv2_100, fbnetc_100, timm/efficientnet_lite0, ...), an architecture of
            ``architectures/`` (resnet18, resnet50, ...), an architecture's YAML file, or the folder of a trained model
            whose network is an ``FNANetwork``.
        weights: a checkpoint of the architecture, with timm's names or those of ProxylessNAS (safetensors, or a torch
            file of which only tensors are read); without it pretrained ones, of an installed package or timm's, or
            for a folder its own.

    Raises:
        InputError: no such seed, weights that are missing or cannot be read, or entries that are missing, misshapen or
            of another architecture; the message names the first few with their shapes.
    """
    if Path(name).is_dir():
        if weights is not None:
            raise InputError(f"the seed {name} is a trained model with weights of its own; leave out {weights}")
        return _from_folder(Path(name))
    if len(Path(name).parts) > 1 and not name.startswith(PREFIX) and Path(name).suffix not in (".yaml", ".yml"):
        raise InputError(f"the seed {name}: there is no such folder; train it first, or give the name of a seed")
    architecture = get_architecture(name)
    given, normalisation, origin, license = _find_weights(name, architecture, weights)
    shapes = network_shapes(architecture)
    unknown = [entry for entry in given if entry not in shapes and entry.partition(".")[0] not in _CLASSIFIERS]
    selected = select_weights(given, shapes, origin)
    if unknown:
        listed = ", ".join(f"{entry} {list(given[entry].shape)}" for entry in unknown[:_MAX_LISTED])
        more = f" and {len(unknown) - _MAX_LISTED} more" if len(unknown) > _MAX_LISTED else ""
        raise InputError(f"{origin} holds what the architecture {name} does not have: {listed}{more}")
    return Seed(architecture, selected, origin, normalisation, Origin.of(origin, license))


def seed_architecture(name: str) -> Architecture:
    """Return the architecture of a seed, without its weights. Raises InputError where there is no such seed."""
    return _folder_architecture(Path(name) / MODEL) if Path(name).is_dir() else get_architecture(name)


def _find_weights(name: str, architecture: Architecture, file: str | None) -> TrunkWeights:
    """Return weights of an architecture under timm's names, the classifier's among them."""
    if is_timm_mobile(name):
        return find_weights(timm_network(name), PRETRAINED if file is None else file)
    if file is not None:
        return TrunkWeights(_with_timms_names(read_checkpoint(local_path(file)), architecture, file), IMAGENET, file)
    if name in RESIDUAL_SEEDS:
        return TrunkWeights(pretrained_weights(name), IMAGENET, f"timm's pretrained {name}")
    raise InputError(
        f"there are no pretrained weights of {name} to download (there are of mobile networks of timm's, and of "
        f"{', '.join(RESIDUAL_SEEDS)}): give a file"
    )


def _with_timms_names(weights: dict[str, Tensor], architecture: Architecture, origin: str) -> dict[str, Tensor]:
    """Rename the entries of a checkpoint of ProxylessNAS; others are returned as they are.

    There, a layer that is skipped has a number, but no convolutions.
    """
    if "first_conv.conv.weight" not in weights:
        return weights
    layers = [f"blocks.{number}.mobile_inverted_conv" for number in range(len(weights))]
    layers = [layer for layer in layers if f"{layer}.depth_conv.conv.weight" in weights]
    blocks = list(architecture.blocks())
    if len(layers) != len(blocks):
        raise InputError(f"{origin} has {len(layers)} blocks, the architecture {len(blocks)}")
    prefixes = {"conv_stem": "first_conv.conv", "bn1": "first_conv.bn"}
    for block, layer in zip(blocks, layers, strict=True):
        convs = block_convs(block.spec, block.in_channels)
        for conv, part in zip(convs, _PROXYLESS_CONVS[-len(convs) :], strict=True):
            prefixes[f"{block.name}.{conv.name}"] = f"{layer}.{part}.conv"
            prefixes[f"{block.name}.{conv.bn}"] = f"{layer}.{part}.bn"
    renamed = {}
    for name in network_shapes(architecture):
        module, _, entry = name.rpartition(".")
        theirs = f"{prefixes[module]}.{entry}"
        if theirs in weights:
            renamed[name] = weights[theirs]
    return renamed


def _from_folder(folder: Path) -> Seed:
    """Read the network of a trained model, whose tensors are called ``network....``; no class of it is built."""
    architecture = _folder_architecture(folder / MODEL)
    shapes = {f"network.{name}": shape for name, shape in network_shapes(architecture).items()}
    selected = select_weights(read_weights(folder / WEIGHTS), shapes, folder / WEIGHTS)
    own = {name: selected[f"network.{name}"] for name in network_shapes(architecture)}
    first = read_origin(folder / WEIGHTS) or Origin.of(str(folder))
    return Seed(architecture, own, str(folder), read_normalisation(folder / WEIGHTS), first)


def _folder_architecture(path: Path) -> Architecture:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; give the folder of a trained model"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    network = document.get("network") if isinstance(document, dict) else None
    kind = present_name(str(network.get("_target_"))) if isinstance(network, dict) else None
    if not isinstance(network, dict) or kind != NETWORK_CLASS or "architecture" not in network:
        raise InputError(f"{path}: the model's network is no {NETWORK_CLASS}; only those serve as seeds")
    try:
        return get_architecture(network["architecture"])
    except InputError as error:
        raise InputError(f"{path}: network.architecture: {error}") from error
