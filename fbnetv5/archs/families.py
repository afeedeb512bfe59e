"""FBNetV3 block tables: the trunk of every family, cut into four partitions.

A row of a table is ``(operator, kernel, channels, stride, repeats, expansion, squeeze_excite)``. The stride belongs to
the first repeat. The tables are those of the public FBNetV3 definitions; A_C and A_R are Listings 3 and 4 of FBNetV5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from timm.layers import make_divisible

from fbnetv5.base.errors import InputError, nearest

STRIDES = (4, 8, 16, 32)
NUM_PATHS = len(STRIDES)

Operator = Literal["conv", "ir"]
Row = tuple[Operator, int, int, int, int, int, int]


@dataclass(frozen=True)
class Layer:
    """One layer: a convolution (``conv``) or an inverted residual (``ir``, MBConv), with BN and hard-swish.

    ``expansion`` and ``squeeze_excite`` only concern inverted residuals; ``padding`` is that of the spatial (for ``ir``
    the depthwise) convolution, in pixels on each side.
    """

    operator: Operator
    kernel: int
    in_channels: int
    out_channels: int
    stride: int
    expansion: int
    squeeze_excite: bool
    padding: int

    @property
    def expanded_channels(self) -> int:
        """Width of the depthwise convolution: a multiple of 8, but the input's own width without an expansion."""
        return self.in_channels if self.expansion == 1 else make_divisible(self.in_channels * self.expansion)

    @property
    def squeezed_channels(self) -> int:
        """Width inside squeeze-excitation: a quarter of the layer's input, a multiple of 8 of at least 95 % of it."""
        return make_divisible(self.in_channels / 4, round_limit=0.95)

    @property
    def has_residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.operator == "ir" and self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True)
class Family:
    """An FBNetV3 trunk in four partitions, whose features have strides 4, 8, 16 and 32.

    ``input_size`` is the side, in pixels, of the square image the family is published for.
    """

    name: str
    input_size: int
    partitions: tuple[tuple[Layer, ...], ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the feature on each of the four paths."""
        return tuple(partition[-1].out_channels for partition in self.partitions)

    def block(self, path: int) -> tuple[Layer, ...]:
        """Return the two layers of a block of stage 1 and later on ``path`` (0..3).

        They are the last two of the partition, at stride 1, between the partition's output channels (FBNetV5,
        Listing 2).
        """
        channels = self.channels[path]
        return tuple(
            dataclasses.replace(
                layer, in_channels=channels, out_channels=channels, stride=1, padding=_default_padding(layer.kernel)
            )
            for layer in self.partitions[path][-2:]
        )


def get_family(name: str) -> Family:
    """Return the family called ``name``.

    Raises:
        InputError: there is no such family; the message lists those there are.
    """
    if name not in FAMILIES:
        raise InputError(f"unknown family '{name}'{nearest(name, FAMILIES)} (known: {', '.join(FAMILIES)})")
    return FAMILIES[name]


def _default_padding(kernel: int) -> int:
    return kernel // 2


def _expand(tables: Sequence[Sequence[Row]], first_padding: Mapping[int, int]) -> tuple[tuple[Layer, ...], ...]:
    """Turn rows into layers. ``first_padding`` maps a partition to the padding of its first row."""
    partitions = []
    in_channels = 3
    for index, table in enumerate(tables):
        layers = []
        for row_index, (operator, kernel, channels, stride, repeats, expansion, squeeze_excite) in enumerate(table):
            default = _default_padding(kernel)
            padding = first_padding.get(index, default) if row_index == 0 else default
            for repeat in range(repeats):
                layer_stride = stride if repeat == 0 else 1
                layers.append(
                    Layer(
                        operator, kernel, in_channels, channels, layer_stride, expansion, bool(squeeze_excite), padding
                    )
                )
                in_channels = channels
        partitions.append(tuple(layers))
    return tuple(partitions)


_A: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 16, 2, 1, 1, 0), ("ir", 3, 16, 1, 2, 1, 0), ("ir", 5, 24, 2, 1, 4, 0), ("ir", 5, 24, 1, 3, 2, 0)),
    (("ir", 5, 40, 2, 1, 5, 1), ("ir", 5, 40, 1, 4, 3, 1)),
    (("ir", 5, 72, 2, 1, 5, 0), ("ir", 3, 72, 1, 4, 3, 0), ("ir", 3, 120, 1, 1, 5, 1), ("ir", 5, 120, 1, 5, 3, 1)),
    (("ir", 3, 184, 2, 1, 6, 1), ("ir", 5, 184, 1, 5, 4, 1), ("ir", 5, 224, 1, 1, 6, 1)),
)
_A_C: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 12, 2, 1, 1, 0), ("ir", 3, 12, 1, 2, 1, 0), ("ir", 3, 18, 2, 1, 3, 0), ("ir", 3, 18, 1, 2, 2, 0)),
    (("ir", 3, 30, 2, 1, 4, 1), ("ir", 3, 30, 1, 3, 2, 1)),
    (("ir", 3, 54, 2, 1, 4, 0), ("ir", 3, 54, 1, 3, 2, 0), ("ir", 3, 80, 1, 1, 4, 1), ("ir", 3, 80, 1, 3, 2, 1)),
    (("ir", 3, 138, 2, 1, 4, 1), ("ir", 3, 138, 1, 3, 3, 1), ("ir", 3, 168, 1, 1, 4, 1)),
)
_A_R: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 12, 2, 1, 1, 0), ("ir", 3, 12, 1, 2, 1, 0), ("ir", 3, 18, 2, 1, 4, 0), ("ir", 3, 18, 1, 3, 2, 0)),
    (("ir", 3, 30, 2, 1, 5, 1), ("ir", 3, 30, 1, 4, 3, 1)),
    (("ir", 3, 54, 2, 1, 5, 0), ("ir", 3, 54, 1, 4, 3, 0), ("ir", 3, 80, 1, 1, 5, 1), ("ir", 3, 80, 1, 5, 3, 1)),
    (("ir", 3, 138, 2, 1, 6, 1), ("ir", 3, 138, 1, 5, 4, 1), ("ir", 3, 168, 1, 1, 6, 1)),
)
_C: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 16, 2, 1, 1, 0), ("ir", 3, 16, 1, 2, 1, 0), ("ir", 5, 24, 2, 1, 5, 0), ("ir", 3, 24, 1, 4, 3, 0)),
    (("ir", 5, 48, 2, 1, 5, 1), ("ir", 5, 48, 1, 4, 2, 1)),
    (("ir", 5, 88, 2, 1, 4, 0), ("ir", 3, 88, 1, 4, 3, 0), ("ir", 3, 120, 1, 1, 4, 1), ("ir", 5, 120, 1, 5, 3, 1)),
    (("ir", 5, 216, 2, 1, 5, 1), ("ir", 5, 216, 1, 5, 5, 1), ("ir", 5, 216, 1, 1, 6, 1)),
)
_D: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 24, 2, 1, 1, 0), ("ir", 3, 16, 1, 2, 1, 0), ("ir", 3, 24, 2, 1, 5, 0), ("ir", 3, 24, 1, 5, 2, 0)),
    (("ir", 5, 40, 2, 1, 4, 1), ("ir", 3, 40, 1, 4, 3, 1)),
    (("ir", 3, 72, 2, 1, 5, 0), ("ir", 3, 72, 1, 4, 3, 0), ("ir", 3, 128, 1, 1, 5, 1), ("ir", 5, 128, 1, 6, 3, 1)),
    (("ir", 3, 208, 2, 1, 6, 1), ("ir", 5, 208, 1, 5, 5, 1), ("ir", 5, 240, 1, 1, 6, 1)),
)
_E: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 24, 2, 1, 1, 0), ("ir", 3, 16, 1, 3, 1, 0), ("ir", 5, 24, 2, 1, 4, 0), ("ir", 5, 24, 1, 4, 2, 0)),
    (("ir", 5, 48, 2, 1, 4, 1), ("ir", 5, 48, 1, 4, 3, 1)),
    (("ir", 5, 80, 2, 1, 5, 0), ("ir", 3, 80, 1, 4, 3, 0), ("ir", 3, 128, 1, 1, 5, 1), ("ir", 5, 128, 1, 7, 3, 1)),
    (("ir", 3, 216, 2, 1, 6, 1), ("ir", 5, 216, 1, 5, 5, 1), ("ir", 5, 240, 1, 1, 6, 1)),
)
_F: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 24, 2, 1, 1, 0), ("ir", 3, 24, 1, 3, 1, 0), ("ir", 5, 32, 2, 1, 4, 0), ("ir", 5, 32, 1, 4, 2, 0)),
    (("ir", 5, 56, 2, 1, 4, 1), ("ir", 5, 56, 1, 4, 3, 1)),
    (("ir", 5, 88, 2, 1, 5, 0), ("ir", 3, 88, 1, 4, 3, 0), ("ir", 3, 144, 1, 1, 5, 1), ("ir", 5, 144, 1, 8, 3, 1)),
    (("ir", 3, 248, 2, 1, 6, 1), ("ir", 5, 248, 1, 6, 5, 1), ("ir", 5, 272, 1, 1, 6, 1)),
)
_G: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 32, 2, 1, 1, 0), ("ir", 3, 24, 1, 3, 1, 0), ("ir", 5, 40, 2, 1, 4, 0), ("ir", 5, 40, 1, 4, 2, 0)),
    (("ir", 5, 56, 2, 1, 4, 1), ("ir", 5, 56, 1, 4, 3, 1)),
    (("ir", 5, 104, 2, 1, 5, 0), ("ir", 3, 104, 1, 4, 3, 0), ("ir", 3, 160, 1, 1, 5, 1), ("ir", 5, 160, 1, 8, 3, 1)),
    (("ir", 3, 264, 2, 1, 6, 1), ("ir", 5, 264, 1, 6, 5, 1), ("ir", 5, 288, 1, 2, 6, 1)),
)
# Not from a paper: as few and as narrow layers as still learn something, for tests and the quickstart on a CPU.
_NANO: tuple[tuple[Row, ...], ...] = (
    (("conv", 3, 8, 2, 1, 1, 0), ("ir", 3, 16, 2, 1, 3, 0), ("ir", 3, 16, 1, 1, 1, 0)),
    (("ir", 3, 24, 2, 1, 3, 0), ("ir", 3, 24, 1, 1, 1, 0)),
    (("ir", 3, 40, 2, 1, 3, 0), ("ir", 3, 40, 1, 1, 1, 0)),
    (("ir", 3, 64, 2, 1, 3, 1), ("ir", 3, 64, 1, 1, 1, 0)),
)

# The paddings are those the public definitions set by hand. A 224 input then gives 56, 28, 13 and 6 pixels in family A.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("A_C", 224, _expand(_A_C, {})),
        Family("A_R", 160, _expand(_A_R, {})),
        Family("A", 224, _expand(_A, {2: 1, 3: 0})),
        Family("B", 248, _expand(_A, {2: 1, 3: 0})),
        Family("C", 248, _expand(_C, {2: 1, 3: 1})),
        Family("D", 248, _expand(_D, {})),
        Family("E", 264, _expand(_E, {2: 1})),
        Family("F", 272, _expand(_F, {3: 0})),
        Family("G", 320, _expand(_G, {})),
        Family("NANO", 128, _expand(_NANO, {})),
    )
}
