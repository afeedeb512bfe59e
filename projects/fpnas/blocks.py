"""From a block type to a module, on timm's inverted residual. The modules follow the graphs of ``space.GRAPHS``."""

from __future__ import annotations

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn

from fbnetv5.projects.fpnas.space import BlockType, Position


class Add(nn.Module):
    """``x + F(x)``: a residual connection."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H, W]."""
        result: Tensor = feature + self.conv(feature)
        return result


class SplitConcat(nn.Module):
    """``(r, F(l))``: half of the channels passes by the convolution."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H, W]."""
        left, right = halves(feature)
        return torch.cat([right, self.conv(left)], dim=1)


class SplitAddConcat(nn.Module):
    """``(r, l + F(l))``: half of the channels passes by a residual connection."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H, W]."""
        left, right = halves(feature)
        return torch.cat([right, left + self.conv(left)], dim=1)


class SplitCrossConcat(nn.Module):
    """``(r + F(l), l)``: the convolution of one half is added to the other."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H, W], C even."""
        left, right = halves(feature)
        return torch.cat([right + self.conv(left), left], dim=1)


def halves(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Split [N, C, H, W] into the first C // 2 channels, and the others."""
    left = feature.shape[1] // 2
    return feature[:, :left], feature[:, left:]


WRAPPERS = {
    "add": Add,
    "split-concat": SplitConcat,
    "split-add-concat": SplitAddConcat,
    "split-cross-concat": SplitCrossConcat,
}


def build_block(chosen: BlockType, position: Position) -> nn.Module:
    """Build a block, a module from [N, C_in, H, W] to [N, C_out, H / stride, W / stride], sizes rounded up.

    Raises:
        ValueError: the type is not valid at that position.
    """
    if not chosen.fits(position):
        raise ValueError(f"{chosen.name} is not valid at {position}")
    if not chosen.has_conv:
        return nn.Identity()
    in_channels, _, out_channels = chosen.conv_channels(position)
    conv = InvertedResidual(
        in_channels,
        out_channels,
        dw_kernel_size=chosen.kernel,
        stride=position.stride,
        dilation=position.dilation,
        exp_ratio=chosen.expansion,
        noskip=True,
        act_layer=nn.ReLU6,
    )
    return WRAPPERS[chosen.topology](conv) if chosen.topology in WRAPPERS else conv
