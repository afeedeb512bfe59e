"""Parameter-free resampling of a feature from one path to another (FBNetV5, Appendix B).

The order of the steps is the cheap one: both functions do their spatial step where the feature is smallest. Averaging
channels and repeating pixels commute, and so do interpolating pixels and repeating channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import Size


def to_lower_resolution(x: Tensor, channels: int, size: Size) -> Tensor:
    """Bring ``x`` to a path of lower resolution: interpolate, then repeat the channels and drop the extra ones.

    Args:
        x: ``[N, C, H, W]``.
        channels: channels of the target path; output channel i is input channel ``i % C``.
        size: height and width of the target path in pixels.

    Returns:
        ``[N, channels, *size]``.
    """
    x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    copies, extra = divmod(channels, _num_channels(x))
    pieces = [x] * copies
    if extra:
        pieces.append(x[:, :extra])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def to_higher_resolution(x: Tensor, channels: int, size: Size) -> Tensor:
    """Bring ``x`` to a path of higher resolution: average groups of channels, then repeat the nearest pixel.

    Args:
        x: ``[N, C, H, W]``; zeros fill its channels up to a multiple of ``channels`` before they are averaged.
        channels: channels of the target path, the number of groups.
        size: height and width of the target path in pixels.

    Returns:
        ``[N, channels, *size]``.
    """
    # The mean forgets the memory format, and sums of mixed formats are slow.
    is_channels_last = x.is_contiguous(memory_format=torch.channels_last)
    missing = -_num_channels(x) % channels
    if missing:
        x = F.pad(x, (0, 0, 0, 0, 0, missing))
    if _num_channels(x) > channels:
        x = x.unflatten(1, (channels, -1)).mean(dim=2)
        x = x.contiguous(memory_format=torch.channels_last) if is_channels_last else x
    return F.interpolate(x, size=size, mode="nearest")


def to_path(x: Tensor, source: int, target: int, channels: int, size: Size) -> Tensor:
    """Bring ``x`` [N, C, H, W] of path ``source`` to another, ``target``, of these ``channels`` and this ``size``."""
    return (to_lower_resolution if source < target else to_higher_resolution)(x, channels, size)


def _num_channels(x: Tensor) -> int:
    # While torch.jit traces, shapes are tensors.
    return int(x.shape[1])
