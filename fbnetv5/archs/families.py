"""The families by name: FBNetV3's tables, variants of these for devices, and any fitting network of timm's.

A row of a table is ``(operator, kernel, channels, stride, repeats, expansion, squeeze_excite)``. The stride belongs to
the first repeat. The tables are those of the public FBNetV3 definitions; A_C and A_R are Listings 3 and 4 of FBNetV5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from timm.layers import make_divisible

from fbnetv5.archs.family import NUM_PATHS, STRIDES, Family, Layer, Operator
from fbnetv5.archs.timm_networks import PREFIX, timm_family
from fbnetv5.base.errors import InputError, nearest

__all__ = ["FAMILIES", "NUM_PATHS", "STRIDES", "Family", "Layer", "get_family"]

Row = tuple[Operator, int, int, int, int, int, int]


def get_family(name: str) -> Family:
    """Return the family called ``name``: one of ``FAMILIES``, or ``timm/`` and the name of a network of timm's.

    One of ours may be followed by ``-`` and the name of a variant, ``A_C-lite-x8``; see ``VARIANTS``.

    Raises:
        InputError: there is no such family, and the message lists those there are; or a network of timm's does not fit.
    """
    if name.startswith(PREFIX):
        return timm_family(name)
    base, *variants = name.split("-")
    if base in FAMILIES and variants:
        family = FAMILIES[base]
        for variant in variants:
            if variant not in VARIANTS:
                raise InputError(f"family {name}: '{variant}' is none of the variants {', '.join(VARIANTS)}")
            family = VARIANTS[variant](family)
        return dataclasses.replace(family, name=name, timm_network=None)
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InputError(
            f"unknown family '{name}'{nearest(name, FAMILIES)} (known: {known}; or a network of timm's, such as "
            "timm/efficientnet_lite0)"
        )
    return FAMILIES[name]


def _expand(tables: Sequence[Sequence[Row]], first_padding: Mapping[int, int]) -> tuple[tuple[Layer, ...], ...]:
    """Turn rows into layers. ``first_padding`` maps a partition to the padding of its first row."""
    partitions = []
    in_channels = 3
    for index, table in enumerate(tables):
        layers = []
        for row_index, (operator, kernel, channels, stride, repeats, expansion, squeeze_excite) in enumerate(table):
            default = kernel // 2
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
        Family("A", 224, _expand(_A, {2: 1, 3: 0}), "fbnetv3_b"),
        Family("B", 248, _expand(_A, {2: 1, 3: 0}), "fbnetv3_b"),
        Family("C", 248, _expand(_C, {2: 1, 3: 1})),
        Family("D", 248, _expand(_D, {}), "fbnetv3_d"),
        Family("E", 264, _expand(_E, {2: 1})),
        Family("F", 272, _expand(_F, {3: 0})),
        Family("G", 320, _expand(_G, {}), "fbnetv3_g"),
        Family("NANO", 128, _expand(_NANO, {})),
    )
}


def lite(family: Family) -> Family:
    """Return the family with ReLU6 and without squeeze-excitation, which eight bits are kinder to."""
    return _with_layers(
        family, lambda layer: dataclasses.replace(layer, activation="relu6", squeeze_excite=False, squeezed=None)
    )


def multiples_of_8(family: Family) -> Family:
    """Return the family with all channels rounded to multiples of 8, none narrower by more than a tenth."""

    def rounded(layer: Layer) -> Layer:
        in_channels = layer.in_channels if layer.in_channels == 3 else int(make_divisible(layer.in_channels))
        return dataclasses.replace(layer, in_channels=in_channels, out_channels=int(make_divisible(layer.out_channels)))

    return _with_layers(family, rounded)


def _with_layers(family: Family, change: Callable[[Layer], Layer]) -> Family:
    partitions = tuple(tuple(map(change, layers)) for layers in family.partitions)
    return dataclasses.replace(family, partitions=partitions)


VARIANTS: Mapping[str, Callable[[Family], Family]] = {"lite": lite, "x8": multiples_of_8}
