"""Parameter remapping to other widths (FNA++, Sec. 3.1). Indices in the equations start with 1.

Weights are ``[out, in / groups, height, width]``, as of ``torch.nn.Conv2d``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChannelMap:
    """The source of every channel of a target.

    Attributes:
        source: int64 [target channels], the source's channel; -1 for a new one.
    """

    source: Tensor

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shares(self) -> Tensor:
        """One over the number of channels with the same source, [target channels]; 1 for a channel of its own."""
        same = self.source[:, None] == self.source[None, :]
        return 1 / same.sum(dim=1)


def first_channels(num_source: int, num_target: int) -> ChannelMap:
    """Keep the first channels; what is beyond the source's is new (eq. 2 and 3)."""
    index = torch.arange(num_target)
    return ChannelMap(torch.where(index < num_source, index, -1))


def remap_outputs(tensor: Tensor, channels: ChannelMap, new: float = 0.0) -> Tensor:
    """Pick the first dimension's entries by a map; those of new channels are filled with ``new``."""
    filled = torch.cat([tensor, torch.full_like(tensor[:1], new)])
    return filled[channels.source]  # -1 is the entry just appended


def remap_width(weight: Tensor, outputs: ChannelMap, inputs: ChannelMap) -> Tensor:
    """Remap a plain convolution's output and input channels; what new channels read or write is 0 (eq. 2 and 3).

    Replicas of one input channel share its weight (Net2WiderNet), so that what reads them stays the same.

    Args:
        weight: [p, q, h, w].
        outputs: from p to r channels.
        inputs: from q to s channels.

    Returns:
        [r, s, h, w].
    """
    by_input = remap_outputs(remap_outputs(weight, outputs).transpose(0, 1), inputs)  # [s, r, h, w]
    return by_input.transpose(0, 1) * inputs.shares.to(weight)[:, None, None]
