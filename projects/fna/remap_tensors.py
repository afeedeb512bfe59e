"""Parameter remapping on single tensors (FNA++, Sec. 3.1, 5.3 and 5.4); that to other widths is the core's.

Indices in the equations start with 1.

Weights are ``[out, in / groups, height, width]``, as of ``torch.nn.Conv2d``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.archs.remap import ChannelMap, first_channels

KernelMode = Literal["centre", "dilate"]


def top_channels(reference: Tensor, num_target: int) -> ChannelMap:
    """Keep the channels of the largest reference values, in their order (algorithm 1).

    Args:
        reference: one value a source channel, such as the absolute scale of its batch normalisation.
        num_target: channels to keep; with as many as there are or more, it is :func:`first_channels`.
    """
    if num_target >= len(reference):
        return first_channels(len(reference), num_target)
    return ChannelMap(reference.topk(num_target).indices.sort().values)


def replicated_channels(num_source: int, num_target: int, rng: torch.Generator) -> ChannelMap:
    """Keep all channels and fill up with random replicas of them (Net2WiderNet); with fewer, the first are kept."""
    extra = max(0, num_target - num_source)
    replicas = torch.randint(num_source, (extra,), generator=rng)
    return ChannelMap(torch.cat([torch.arange(min(num_source, num_target)), replicas]))


def remap_groups(weight: Tensor, source_groups: int, target_groups: int) -> Tensor:
    """Remap a convolution to other groups: each group keeps the weights for its own input channels (eq. 4).

    Args:
        weight: [p, q / source_groups, h, w].
        source_groups: of the weight.
        target_groups: of the result; both divide p and q.

    Returns:
        [p, q / target_groups, h, w]. A weight between channels of different groups is dropped, or 0 if it is new.
    """
    if source_groups == target_groups:
        return weight
    num_outputs, size = weight.shape[0], weight.shape[1]
    num_inputs = size * source_groups
    plain = weight.new_zeros(num_outputs, num_inputs, *weight.shape[2:])
    for group, rows in enumerate(torch.arange(num_outputs).chunk(source_groups)):
        plain[rows, group * size : (group + 1) * size] = weight[rows]
    size = num_inputs // target_groups
    return torch.cat(
        [
            plain[rows, group * size : (group + 1) * size]
            for group, rows in enumerate(torch.arange(num_outputs).chunk(target_groups))
        ]
    )


def remap_kernel(weight: Tensor, kernel: int, mode: KernelMode = "centre") -> Tensor:
    """Remap a convolution to another kernel size.

    Args:
        weight: [out, in, k, k].
        kernel: k', odd as k is.
        mode: how a larger kernel is filled, zeros elsewhere: ``centre`` puts the weight in the middle, at
            l < h, w <= l + k with l = (k' - k) / 2 (eq. 6); ``dilate`` spreads it over the kernel, at 1 + i (k' - 1) /
            (k - 1) (eq. 11, which has k = 3).

    Returns:
        [out, in, k', k']; of a smaller one the middle of the weight (eq. 5).

    Raises:
        ValueError: ``dilate`` where k' - 1 is no multiple of k - 1.
    """
    size = weight.shape[-1]
    margin = abs(size - kernel) // 2
    if kernel <= size:
        return weight[:, :, margin : margin + kernel, margin : margin + kernel].clone()
    if mode == "centre":
        return F.pad(weight, (margin, margin, margin, margin))
    if size == 1 or (kernel - 1) % (size - 1):
        raise ValueError(f"a {size}x{size} kernel cannot be spread evenly over {kernel}x{kernel}")
    step = (kernel - 1) // (size - 1)
    spread = weight.new_zeros(*weight.shape[:2], kernel, kernel)
    spread[:, :, ::step, ::step] = weight
    return spread
