"""timm's fbnetv3_b weights for the trunk of families A and B, by exact name mapping.

timm holds the same layers under ``conv_stem``, ``bn1`` and ``blocks.<group>.<index>``. Its groups do not follow the
partitions, but the order of the layers is the same. Only paddings differ, and those have no weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor

from fbnetv5.archs.families import Family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import UNREADABLE

TIMM_MODEL = "fbnetv3_b"
FAMILY_NAMES = ("A", "B")
_GROUP_LENGTHS = (2, 4, 5, 5, 6, 7)
_HEAD_PREFIXES = ("blocks.6.", "conv_head.", "classifier.")
_MAX_LISTED = 5


def load_timm_weights(network: MultiPathNet, path: str | os.PathLike[str] | None = None) -> None:
    """Load the trunk's weights and BN statistics; blocks of later stages keep theirs.

    Args:
        network: a network of family A or B.
        path: a local checkpoint of timm's fbnetv3_b (``.safetensors``, or a torch file, of which only tensors are
            read); without it, timm downloads its pretrained weights or finds them in its cache.

    Raises:
        InputError: another family; the weights cannot be read; or an entry is missing, unknown or of another shape. The
            network is unchanged then.
    """
    if network.family.name not in FAMILY_NAMES:
        raise InputError(
            f"timm's {TIMM_MODEL} fits the families {' and '.join(FAMILY_NAMES)}, not {network.family.name}"
        )
    source = f"timm's pretrained {TIMM_MODEL}" if path is None else str(path)
    weights = pretrained_weights(TIMM_MODEL) if path is None else read_checkpoint(Path(path))
    prefixes = _timm_prefixes(network.family)
    own = network.trunk.state_dict()
    timm_names = {name: _timm_name(name, prefixes) for name in own}
    not_built = tuple(theirs for ours, theirs in prefixes.items() if int(ours.split(".")[0]) >= len(network.trunk))
    problems = []
    for name, theirs in timm_names.items():
        if theirs not in weights:
            problems.append(f"{theirs} is missing")
        elif weights[theirs].shape != own[name].shape:
            problems.append(f"{theirs} has shape {list(weights[theirs].shape)}, not {list(own[name].shape)}")
    unknown = weights.keys() - set(timm_names.values())
    problems += [f"{name} is unknown" for name in sorted(unknown) if not name.startswith(_HEAD_PREFIXES + not_built)]
    if problems:
        more = f" and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InputError(f"{source} does not fit the trunk: {'; '.join(problems[:_MAX_LISTED])}{more}")
    network.trunk.load_state_dict({name: weights[theirs] for name, theirs in timm_names.items()})


def _timm_prefixes(family: Family) -> dict[str, str]:
    """Map our name of every layer, below ``trunk``, to timm's; both end with a dot."""
    theirs = [f"blocks.{group}.{i}." for group, length in enumerate(_GROUP_LENGTHS) for i in range(length)]
    ours = [f"{partition}.{i}." for partition, layers in enumerate(family.partitions) for i in range(len(layers))]
    stem, *rest = ours
    return {f"{stem}conv.": "conv_stem.", f"{stem}bn1.": "bn1.", **dict(zip(rest, theirs, strict=True))}


def _timm_name(name: str, prefixes: Mapping[str, str]) -> str:
    prefix = next(prefix for prefix in prefixes if name.startswith(prefix))
    return prefixes[prefix] + name.removeprefix(prefix)


def pretrained_weights(model: str) -> dict[str, Tensor]:
    """Return timm's pretrained weights of a model, downloaded or from its cache.

    Raises:
        InputError: they can be had from neither.
    """
    try:
        weights: dict[str, Tensor] = timm.create_model(model, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:  # no network, or not the file that timm expects
        reason = " ".join(str(error).split())
        raise InputError(f"timm could not load its pretrained {model} ({reason}); give a local file instead") from error
    return weights


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or a torch file, of which only tensors are read.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read weights {path}: {reason}") from error
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path} does not hold a mapping from names to tensors")
    return weights
