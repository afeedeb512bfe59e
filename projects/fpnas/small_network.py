"""The small networks of the block-diversity study (Sec. 3.1.2): five blocks, of which the middle three vary.

The paper prints that the first block is a 3x3 depthwise convolution, the last a 1x1 convolution, and that a fully
connected layer follows. Where the resolution falls, it does not say: here the first block has stride 2, and averages
over 2 x 2 pixels stand before the third and the fourth block, so that there are lower and higher levels. The 1x1
convolution and the layer after it are the ``PooledClassifier``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from timm.models._efficientnet_blocks import DepthwiseSeparableConv
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.cost import conv_cost
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.projects.fpnas.blocks import build_block
from fbnetv5.projects.fpnas.heads.classifier import pooled_classifier_macs
from fbnetv5.projects.fpnas.macro import check_size
from fbnetv5.projects.fpnas.space import BlockType, Position, block_type

DIGITS = ("add k3e6", "split-concat k3e6", "split-add-concat k3e6")  # 0 shortcut, 1 split, 2 both
NUM_VARIED = 3
STRIDE = 8
WIDEST = 1024


def network_ids() -> list[str]:
    """Return the 27 ternary numbers of three digits, 000 to 222; a digit says what a block has, lowest level first."""
    return ["".join(map(str, digits)) for digits in product(range(len(DIGITS)), repeat=NUM_VARIED)]


def types_of(network_id: str) -> list[str]:
    """Return the names of the three block types that a network's number stands for."""
    return [DIGITS[int(digit)] for digit in network_id]


class SmallNetwork(nn.Module):
    """The first four blocks of a small network; ``model.network`` for the core's jobs.

    Args:
        types: names of the types of the three blocks, lowest level first.
        width: channels of the blocks.

    Attributes:
        channels, strides: of the features; there is path 3 alone.

    Raises:
        InputError: there are not three types, or one is not valid at that width.
    """

    def __init__(self, types: Sequence[str], width: int) -> None:
        super().__init__()
        self.types = _valid(types, width)
        self.channels = (0, 0, 0, width)
        self.strides = (1, 1, 1, STRIDE)
        self.first = DepthwiseSeparableConv(3, width, stride=2, noskip=True, act_layer=nn.ReLU6)
        self.blocks = nn.ModuleList(build_block(chosen, Position(width, width)) for chosen in self.types)
        efficientnet_init_weights(self)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Map [N, 3, H, W] to {3: [N, width, H / 8, W / 8]}; the first block rounds sizes up, the averages down."""
        feature = self.first(images)
        for number, block in enumerate(self.blocks):
            feature = block(F.avg_pool2d(feature, 2) if number else feature)
        return {3: feature}

    def macs(self, size: Size) -> int:
        """Return the MACs of an image of ``size`` (height, width) in pixels."""
        return small_macs(self.types, self.channels[3], size)


def small_macs(types: Sequence[BlockType], width: int, size: Size) -> int:
    """Return the MACs of a ``SmallNetwork`` for images of ``size`` (height, width).

    Raises:
        InputError: the image is smaller than the network's stride.
    """
    check_size(size, STRIDE)
    at = (-(-size[0] // 2), -(-size[1] // 2))
    cost = conv_cost(in_channels=3, out_channels=3, size=at, kernel=3, groups=3)
    cost += conv_cost(in_channels=3, out_channels=width, size=at)
    for chosen in types:
        cost += chosen.cost(Position(width, width), at)[0]
        at = (at[0] // 2, at[1] // 2)
    return cost.macs


def adapted_width(macs: Callable[[int], int], target: float, tolerance: float) -> int:
    """Return the even width whose MACs are nearest to ``target`` ("we set the channels adaptively").

    Args:
        macs: of a network with its classifier, by width.
        target: of the MACs.
        tolerance: by how many they may differ from it.

    Raises:
        InputError: there is none within the tolerance.
    """
    width = min(range(2, WIDEST + 1, 2), key=lambda width: abs(macs(width) - target))
    if abs(macs(width) - target) > tolerance:
        raise InputError(
            f"no even width brings a network within {tolerance:,.0f} of {target:,.0f} MACs: the nearest, {width}, has "
            f"{macs(width):,}; raise project.tolerance"
        )
    return width


def model_macs(types: Sequence[str], width: int, size: Size, num_classes: int, hidden_channels: int) -> int:
    """Return the MACs of a small network with its classifier, for images of ``size`` (height, width)."""
    network = small_macs(_valid(types, width), width, size)
    out_size = (-(-size[0] // 2) // 4, -(-size[1] // 2) // 4)
    return network + pooled_classifier_macs(width, num_classes, out_size, hidden_channels=hidden_channels)


def network_entry(types: Sequence[str], width: int) -> dict[str, Any]:
    """Return ``model.network`` of a small network."""
    return {"_target_": f"{__name__}.{SmallNetwork.__name__}", "types": list(types), "width": width}


def _valid(types: Sequence[str], width: int) -> tuple[BlockType, ...]:
    chosen = tuple(map(block_type, types))
    if len(chosen) != NUM_VARIED:
        raise InputError(f"a small network has {NUM_VARIED} blocks that vary; {len(chosen)} types were given")
    for kind in chosen:
        if not kind.fits(Position(width, width)):
            raise InputError(f"'{kind.name}' is not valid at a width of {width}")
    return chosen
