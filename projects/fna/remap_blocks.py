"""Parameter remapping of one block: all its convolutions and batch normalisations, by name (FNA++, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fbnetv5.archs.remap import ChannelMap, first_channels, remap_outputs, remap_width
from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.block_spec import BlockSpec
from fbnetv5.projects.fna.blocks import ConvSpec, block_convs
from fbnetv5.projects.fna.remap_tensors import (
    KernelMode,
    remap_groups,
    remap_kernel,
    replicated_channels,
    top_channels,
)
from fbnetv5.projects.fna.weights import BN_COUNTER, BN_TENSORS

# What a batch normalisation of a new channel holds. As the channel's convolution is 0 and the mean and shift are 0, so
# is its output, whatever the scale; the activations used here keep 0.
NEW_BN = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
DEEPER_DEVIATION = 0.01


@dataclass(frozen=True)
class Strategy:
    """Strategy of remapping parameters on each level; the defaults are FNA++'s.

    The width strategies choose among a block's inner channels. The channels between blocks, which shortcuts tie
    together, are always the first ones.

    Attributes:
        width: ``first`` channels (eq. 2, 3); those of largest BN scale, weight deviation or L1 norm (``bn``, ``std``,
            ``l1``, algorithm 1), of the convolution that creates them, where channels are dropped (added ones
            are new, as with ``first``); ``net2wider``, replicas with shared outgoing weights.
        kernel: ``centre`` (eq. 5, 6) or ``dilate`` (eq. 11).
        depth: ``last`` block of the stage for new ones (eq. 1), or ``net2deeper``: new ones compute the identity.
        noise: standard deviation of the weights of added inner channels. With 0, as in the paper, all weights from and
            to them are 0, no gradient reaches them, and they stay 0. The function is kept in either case.
        seed: of what is drawn.

    Raises:
        InputError: there is no such strategy, or the noise is negative.
    """

    width: Literal["first", "bn", "std", "l1", "net2wider"] = "first"
    kernel: KernelMode = "centre"
    depth: Literal["last", "net2deeper"] = "last"
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        known = {
            "width": ("first", "bn", "std", "l1", "net2wider"),
            "kernel": ("centre", "dilate"),
            "depth": ("last", "net2deeper"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f"{name}={getattr(self, name)} is no remapping strategy ({', '.join(values)})")
        if self.noise < 0:
            raise InputError(f"noise={self.noise} is negative")


@dataclass(frozen=True)
class Shaped:
    """A block and what it needs to be told apart: the channels of its input, and its name for messages."""

    spec: BlockSpec
    in_channels: int
    name: str


def remap_block(
    weights: Mapping[str, Tensor], source: Shaped, target: Shaped, strategy: Strategy, rng: torch.Generator
) -> dict[str, Tensor]:
    """Return a block's state dict from that of another block of its kind (eq. 2 to 6).

    Args:
        weights: of the source, by the names within the block.
        source, target: the blocks.
        strategy: how.
        rng: of what is drawn.

    Raises:
        InputError: the blocks cannot be matched; the message names both.
    """
    if source.spec.kind != target.spec.kind:
        raise InputError(
            f"cannot remap {source.name} of the seed, a {source.spec.kind} block, to {target.name}, a "
            f"{target.spec.kind} block: the kinds must agree"
        )
    source_convs = {conv.name: conv for conv in block_convs(source.spec, source.in_channels)}
    maps = {
        "input": first_channels(source.in_channels, target.in_channels),
        "inner": _inner_map(weights, source, target, strategy, rng),
        "output": first_channels(source.spec.channels, target.spec.channels),
    }
    remapped: dict[str, Tensor] = {}
    for conv in block_convs(target.spec, target.in_channels):
        if conv.name not in source_convs:
            raise InputError(
                f"{target.name} changes from {target.in_channels} to {target.spec.channels} channels at stride "
                f"{target.spec.stride} and needs {conv.name} {list(conv.weight_shape)}, which {source.name} of the "
                f"seed ({source.in_channels} to {source.spec.channels}, stride {source.spec.stride}) does not have"
            )
        outputs = maps[conv.out_width]
        try:
            weight = remap_conv(
                weights[f"{conv.name}.weight"],
                source_convs[conv.name],
                conv,
                outputs=outputs,
                inputs=maps[conv.in_width],
                mode=strategy.kernel,
            )
        except ValueError as error:
            raise InputError(f"cannot remap {source.name} of the seed to {target.name}: {error}") from error
        if strategy.noise and conv.out_width == "inner":
            added = outputs.source < 0
            weight[added] = strategy.noise * torch.randn(weight[added].shape, generator=rng).to(weight)
        remapped[f"{conv.name}.weight"] = weight
        remapped |= remap_bn(weights, conv.bn, outputs)
    return remapped


def remap_conv(
    weight: Tensor, source: ConvSpec, target: ConvSpec, *, outputs: ChannelMap, inputs: ChannelMap, mode: KernelMode
) -> Tensor:
    """Return the weight of ``target``, [out, in / groups, k, k], from that of ``source`` (eq. 2 to 6).

    Args:
        weight: of the source.
        source, target: the two convolutions.
        outputs, inputs: from the source's channels to the target's.
        mode: how a larger kernel is filled.
    """
    if source.is_depthwise and target.is_depthwise:
        return remap_kernel(remap_outputs(weight, outputs), target.kernel, mode)
    plain = remap_groups(weight, source.groups, 1)
    grouped = remap_groups(remap_width(plain, outputs, inputs), 1, target.groups)
    return remap_kernel(grouped, target.kernel, mode)


def remap_bn(weights: Mapping[str, Tensor], name: str, channels: ChannelMap) -> dict[str, Tensor]:
    """Return a batch normalisation's parameters and statistics; new channels put out 0 in either mode."""
    remapped = {
        f"{name}.{tensor}": remap_outputs(weights[f"{name}.{tensor}"], channels, NEW_BN[tensor])
        for tensor in BN_TENSORS
    }
    return remapped | {f"{name}.{BN_COUNTER}": weights[f"{name}.{BN_COUNTER}"].clone()}


def identity_block(target: Shaped, rng: torch.Generator) -> dict[str, Tensor]:
    """Return the state dict of a residual block that computes the identity (Net2DeeperNet, FNA++'s Sec. 5.3).

    Its convolutions hold slight noise, and the scale of its last batch normalisation is 0 instead of the weights before
    it: the batch normalisation would scale even slight noise up.
    """
    state: dict[str, Tensor] = {}
    convs = block_convs(target.spec, target.in_channels)
    for conv in convs:
        state[f"{conv.name}.weight"] = DEEPER_DEVIATION * torch.randn(conv.weight_shape, generator=rng)
        for tensor in BN_TENSORS:
            is_last_scale = conv is convs[-1] and tensor == "weight"
            state[f"{conv.bn}.{tensor}"] = torch.full((conv.out_channels,), 0.0 if is_last_scale else NEW_BN[tensor])
        state[f"{conv.bn}.{BN_COUNTER}"] = torch.tensor(0)
    return state


def _inner_map(
    weights: Mapping[str, Tensor], source: Shaped, target: Shaped, strategy: Strategy, rng: torch.Generator
) -> ChannelMap:
    number = source.spec.inner_channels(source.in_channels)
    wanted = target.spec.inner_channels(target.in_channels)
    if strategy.width == "net2wider":
        return replicated_channels(number, wanted, rng)
    creating = next((c for c in block_convs(source.spec, source.in_channels) if c.out_width == "inner"), None)
    if strategy.width == "first" or creating is None:
        return first_channels(number, wanted)
    weight = weights[f"{creating.name}.weight"].flatten(start_dim=1)
    if strategy.width == "bn":
        reference = weights[f"{creating.bn}.weight"].abs()
    elif strategy.width == "std":
        reference = weight.std(dim=1)
    else:
        reference = weight.abs().sum(dim=1)
    return top_channels(reference, wanted)
