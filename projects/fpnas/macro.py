"""The part that is not searched: how many blocks there are, their channels and strides, and the layers before them.

The paper prints N = 16 and no more. MobileNetV2 has 17 inverted residuals, of which the first does not expand; without
it they are 16. So the macro structure is MobileNetV2's (1801.04381, Table 2), with that first block fixed. For CIFAR-10
the first three layers of stride 2 have stride 1, as Table 1 of the paper has it for MobileNetV2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from timm.layers import make_divisible

from fbnetv5.archs.cost import Cost, bn_cost, conv_cost
from fbnetv5.archs.dilation import dilate
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.projects.fpnas.space import Position, valid_types


class Place(NamedTuple):
    """A block's output channels, stride, and dilation."""

    channels: int
    stride: int = 1
    dilation: int = 1


@dataclass(frozen=True)
class Macro:
    """The fixed part of an architecture.

    Attributes:
        stem: the 3x3 convolution that reads the image.
        first: the separable convolution after it, MobileNetV2's block without an expansion.
        places: of the N blocks.
    """

    stem: Place
    first: Place
    places: tuple[Place, ...]

    @property
    def positions(self) -> tuple[Position, ...]:
        """Channels before and after, stride and dilation of each of the N blocks."""
        pairs = pairwise((self.first, *self.places))
        return tuple(Position(before.channels, *after) for before, after in pairs)

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each block's output, of the image."""
        strides = [self.stem.stride * self.first.stride]
        for place in self.places:
            strides.append(strides[-1] * place.stride)
        return tuple(strides[1:])

    def sizes(self, size: Size) -> tuple[Size, ...]:
        """Return the sizes of each block's input, for images of ``size`` (height, width).

        Raises:
            InputError: the image is smaller than the network's stride.
        """
        check_size(size, self.strides[-1])
        sizes = [_reduced(_reduced(size, self.stem), self.first)]
        for place in self.places[:-1]:
            sizes.append(_reduced(sizes[-1], place))
        return tuple(sizes)

    def out_size(self, size: Size) -> Size:
        """Return the size of the last block's output, for images of ``size`` (height, width)."""
        return _reduced(self.sizes(size)[-1], self.places[-1])

    def fixed_cost(self, size: Size) -> Cost:
        """Return the MACs and parameters of the layers before the blocks, for images of ``size`` (height, width)."""
        (stem, _, _), (first, _, _) = self.stem, self.first
        stem_size = _reduced(size, self.stem)
        size = _reduced(stem_size, self.first)
        cost = conv_cost(in_channels=3, out_channels=stem, size=stem_size, kernel=3) + bn_cost(stem)
        cost += conv_cost(in_channels=stem, out_channels=stem, size=size, kernel=3, groups=stem) + bn_cost(stem)
        return cost + conv_cost(in_channels=stem, out_channels=first, size=size) + bn_cost(first)

    def type_macs(self, size: Size) -> tuple[tuple[int, ...], ...]:
        """Return the MACs of every valid type at every position, for images of ``size`` (height, width)."""
        return tuple(
            tuple(chosen.cost(position, at)[0].macs for chosen in valid_types(position))
            for position, at in zip(self.positions, self.sizes(size), strict=True)
        )

    def scaled(self, multiplier: float, divisor: int = 8) -> Macro:
        """Return the macro with all channels times ``multiplier``, rounded to multiples of ``divisor``."""

        def wider(place: Place) -> Place:
            return place._replace(channels=make_divisible(place.channels * multiplier, divisor))

        return Macro(wider(self.stem), wider(self.first), tuple(map(wider, self.places)))

    def dilated(self, output_stride: int) -> Macro:
        """Return the macro whose strides end at ``output_stride``: later blocks are dilated instead.

        Raises:
            InputError: no feature of the network has that stride.
        """
        if output_stride not in self.strides:
            known = ", ".join(map(str, sorted(set(self.strides))))
            raise InputError(f"output_stride={output_stride} is none of the network's strides, {known}")
        places, stride, dilation = [], self.stem.stride * self.first.stride, 1
        for place in self.places:
            kept, after = dilate(place.stride, stride, dilation, output_stride)
            places.append(Place(place.channels, kept, place.dilation * dilation))
            stride, dilation = stride * kept, after
        return replace(self, places=tuple(places))


def check_size(size: Size, stride: int) -> None:
    """Raise InputError if an image of ``size`` (height, width) is smaller than a network's stride."""
    if min(size) < stride:
        raise InputError(
            f"an image of {size[0]} x {size[1]} pixels is smaller than the network's stride of {stride}; "
            "use larger images, or an architecture with fewer strides of 2"
        )


def _reduced(size: Size, place: Place) -> Size:
    return -(-size[0] // place.stride), -(-size[1] // place.stride)


def _mobilenet_v2(stem_stride: int, strides: tuple[int, ...]) -> Macro:
    stages = zip((24, 32, 64, 96, 160, 320), (2, 3, 4, 3, 3, 1), strides, strict=True)
    places = [
        Place(channels, stride if number == 0 else 1) for channels, count, stride in stages for number in range(count)
    ]
    return Macro(Place(32, stem_stride), Place(16), tuple(places))


MACROS = {
    "cifar10": _mobilenet_v2(1, (1, 1, 2, 1, 2, 1)),
    "imagenet": _mobilenet_v2(2, (2, 2, 2, 1, 2, 1)),
    "small": _mobilenet_v2(2, (2, 1, 2, 1, 1, 1)),  # for 32 pixels on a CPU: the resolution falls early, to 4 x 4
}
NUM_BLOCKS = len(MACROS["cifar10"].places)  # N
