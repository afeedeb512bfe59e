"""Networks for the tests: small architectures, with weights and BN statistics that nothing is symmetric in."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import BlockSpec, Stem
from fbnetv5.projects.fna.network import FNANetwork
from fbnetv5.projects.fna.space import Space
from fbnetv5.projects.fna.spaces import searched_stage


def mobile() -> Architecture:
    """Return a mobile backbone with all four paths; its third stage has one block."""
    return Architecture(
        Stem(8),
        (
            (BlockSpec("separable", 8),),
            (BlockSpec("mbconv", 8, 3, 6, 2), BlockSpec("mbconv", 8, 3, 6)),
            (BlockSpec("mbconv", 16, 5, 3, 2),),
            (BlockSpec("mbconv", 24, 3, 6, 2), BlockSpec("mbconv", 24, 3, 3), BlockSpec("mbconv", 24, 3, 3)),
            (BlockSpec("mbconv", 32, 3, 6, 2), BlockSpec("mbconv", 32, 7, 6)),
        ),
        "relu6",
    )


def residual(kind: str) -> Architecture:
    """Return a ResNet of ``basic`` or ``bottleneck`` blocks with all four paths."""
    widths = (16, 24, 32, 48)
    stages = [
        tuple(BlockSpec(kind, width, stride=2 if index and block == 0 else 1) for block in range(2))
        for index, width in enumerate(widths)
    ]
    return Architecture(Stem(8, kernel=7, pool=True), tuple(stages))


def space() -> Space:
    """Return a space for :func:`mobile`."""
    stages = (
        ((BlockSpec("separable", 8),),),
        searched_stage(8, 3, 2),
        searched_stage(16, 1, 2),
        searched_stage(24, 3, 2),
        searched_stage(32, 2, 2),
    )
    return Space("small", "small", Stem(8), stages, "relu6")


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw scales, shifts and statistics of every BN, and return the module in evaluation mode."""
    rng = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            shape = layer.running_mean.shape
            layer.weight.data = 0.5 + torch.rand(shape, generator=rng)
            layer.bias.data = 0.2 * torch.randn(shape, generator=rng)
            layer.running_mean.copy_(0.2 * torch.randn(shape, generator=rng))
            layer.running_var.copy_(0.5 + torch.rand(shape, generator=rng))
            layer.num_batches_tracked.fill_(7)
    return module.eval()


def trained(architecture: Architecture, seed: int = 0) -> FNANetwork:
    """Return the network with weights that are not those of another seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FNANetwork(architecture.to_dict())
    randomise(network, seed)
    return network


def images(*size: int) -> torch.Tensor:
    """Return two images of (height, width)."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def map_blocks(architecture: Architecture, **changes: float) -> Architecture:
    """Return the architecture with the same changes made to every block that can have them."""
    stages = []
    for blocks in architecture.stages:
        stages.append(
            tuple(
                dataclasses.replace(block, **{k: v for k, v in changes.items() if _can(block, k)})  # type: ignore[arg-type]
                for block in blocks
            )
        )
    return dataclasses.replace(architecture, stages=tuple(stages))


def _can(block: BlockSpec, change: str) -> bool:
    return not (block.kind == "separable" and change == "expansion")
