"""MobileNetV2 and ShuffleNetV2 of torchvision as networks for the core's final models, to compare with at equal MACs.

They end before their own last 1x1 convolution, whose place the head's takes, so that all networks have one classifier.
Channels are rounded to whole numbers instead of multiples of 8: only so a width can meet a number of MACs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models import MobileNetV2 as TorchvisionMobileNetV2
from torchvision.models import ShuffleNetV2 as TorchvisionShuffleNetV2
from torchvision.models.mobilenetv2 import InvertedResidual

from fbnetv5.base.errors import InputError

MOBILENET_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
SHUFFLENET_CHANNELS = (24, 116, 232, 464)  # of the 1x network: the stem and three stages
MAX_HALVINGS = 16  # of an interval of widths
CLOSE = 0.1  # share of the tolerance that is as good as none


class MobileNetV2(nn.Module):
    """MobileNetV2 (1801.04381) without its last convolution; path 3 is the output of its last block.

    Args:
        width: all channels are times this.
        strides: of the five layers that have stride 2 on ImageNet; the paper's Table 1 sets the first three to 1.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(self, *, width: float = 1.0, strides: tuple[int, ...] = (1, 1, 1, 2, 2)) -> None:
        super().__init__()
        _check(width, strides, 5)
        first, *others = strides
        by_channels = dict(zip((24, 32, 64, 160), others, strict=True))
        stages = [[t, channels, count, by_channels.get(channels, 1)] for t, channels, count in MOBILENET_STAGES]
        whole = TorchvisionMobileNetV2(width_mult=width, inverted_residual_setting=stages, round_nearest=1)
        stem = whole.features[0][0]
        assert isinstance(stem, nn.Conv2d)
        stem.stride = (first, first)
        self.features = whole.features[:-1]
        last = self.features[-1]
        assert isinstance(last, InvertedResidual)
        self.channels = (0, 0, 0, int(last.out_channels))
        self.strides = (1, 1, 1, math.prod(strides))

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Map [N, 3, H, W] to the feature of path 3, [N, channels[3], H / strides[3], W / strides[3]]."""
        return {3: self.features(images)}


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 (1807.11164) without its last convolution; path 3 is the output of its last stage.

    Args:
        width: all channels are times this, rounded to even numbers.
        strides: of the first convolution and the pooling; the paper's Table 1 sets both to 1. Each of the three stages
            halves the resolution.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(self, *, width: float = 1.0, strides: tuple[int, ...] = (1, 1)) -> None:
        super().__init__()
        _check(width, strides, 2)
        channels = [max(2, 2 * round(width * count / 2)) for count in SHUFFLENET_CHANNELS]
        whole = TorchvisionShuffleNetV2([4, 8, 4], [*channels, 2])
        stem = whole.conv1[0]
        assert isinstance(stem, nn.Conv2d)
        stem.stride = (strides[0], strides[0])
        whole.maxpool.stride = strides[1]
        self.stem, self.pool = whole.conv1, whole.maxpool
        self.stages = nn.Sequential(whole.stage2, whole.stage3, whole.stage4)
        self.channels = (0, 0, 0, channels[-1])
        self.strides = (1, 1, 1, math.prod(strides) * 8)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Map [N, 3, H, W] to the feature of path 3, [N, channels[3], H / strides[3], W / strides[3]]."""
        return {3: self.stages(self.pool(self.stem(images)))}


def width_for(target: float, macs: Callable[[float], int], *, tolerance: float, bound: float) -> float:
    """Return a width at which a network has about ``target`` MACs, and fewer than ``bound``, by bisection.

    Args:
        target: MACs.
        macs: of a width; they do not fall as it grows.
        tolerance: share of the target by which the MACs may differ from it.
        bound: that the MACs stay below.

    Raises:
        InputError: no width comes so close.
    """
    low, high = 0.0, 0.125
    while macs(high) < target:
        low, high = high, 2 * high
    nearest, closest, away = high, 0, float("inf")
    for _ in range(MAX_HALVINGS):
        middle = (low + high) / 2
        found = macs(middle)
        if found < bound and abs(found - target) < away:
            nearest, closest, away = middle, found, abs(found - target)
        if away <= CLOSE * tolerance * target:
            break
        low, high = (middle, high) if found < target else (low, middle)
    if away > tolerance * target:
        least = f"the nearest below {bound:,.0f} has {closest:,}" if closest else f"all have {bound:,.0f} or more"
        raise InputError(f"no width gives {target:,.0f} MACs within {tolerance:.1%}: {least}; raise project.tolerance")
    return nearest


def _check(width: float, strides: tuple[int, ...], count: int) -> None:
    if width <= 0 or len(strides) != count or not set(strides) <= {1, 2}:
        raise InputError(f"width={width} should be above 0, strides={list(strides)} {count} numbers, each 1 or 2")
