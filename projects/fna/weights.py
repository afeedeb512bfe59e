"""Names and shapes of a network's tensors, computed from its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import BlockSpec
from fbnetv5.projects.fna.blocks import block_convs
from fbnetv5.projects.fna.network import stem_conv_name

Shape = tuple[int, ...]
BN_TENSORS = ("weight", "bias", "running_mean", "running_var")
BN_COUNTER = "num_batches_tracked"  # old torch files lack it
_MAX_LISTED = 5


def conv_shapes(conv: str, bn: str, shape: Shape) -> dict[str, Shape]:
    """Return the names and shapes of a convolution's weight and of the tensors of the batch normalisation after it."""
    return {f"{conv}.weight": shape} | {f"{bn}.{name}": shape[:1] for name in BN_TENSORS} | {f"{bn}.{BN_COUNTER}": ()}


def block_shapes(spec: BlockSpec, in_channels: int) -> dict[str, Shape]:
    """Return the shape of every tensor of a block, by its name within the block."""
    shapes: dict[str, Shape] = {}
    for conv in block_convs(spec, in_channels):
        shapes |= conv_shapes(conv.name, conv.bn, conv.weight_shape)
    return shapes


def network_shapes(architecture: Architecture) -> dict[str, Shape]:
    """Return the shape of every tensor of ``FNANetwork(architecture)``, by name."""
    stem = architecture.stem
    shape = (stem.channels, 3, stem.kernel, stem.kernel)
    shapes = conv_shapes(stem_conv_name(residual=architecture.is_residual), "bn1", shape)
    for block in architecture.blocks():
        local = block_shapes(block.spec, block.in_channels)
        shapes |= {f"{block.name}.{name}": shape for name, shape in local.items()}
    return shapes


def select_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, Shape], origin: str | Path) -> dict[str, Tensor]:
    """Return the tensors that ``shapes`` names, in its order; a missing counter of batches is 0.

    Args:
        weights: tensors by name; others may be among them.
        shapes: of those that are needed.
        origin: of the weights, for messages.

    Raises:
        InputError: tensors are missing or have another shape; the message names the first few, with their shapes.
    """
    problems, selected = [], {}
    for name, shape in shapes.items():
        tensor = weights.get(name)
        if tensor is None and name.endswith(f".{BN_COUNTER}"):
            tensor = torch.zeros((), dtype=torch.int64)
        if tensor is None:
            problems.append(f"{name} {list(shape)} is missing")
        elif tuple(tensor.shape) != shape:
            problems.append(f"{name} has shape {list(tensor.shape)} instead of {list(shape)}")
        else:
            selected[name] = tensor
    if problems:
        more = f" and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InputError(f"{origin} does not fit the architecture: {'; '.join(problems[:_MAX_LISTED])}{more}")
    return selected
