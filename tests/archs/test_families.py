from __future__ import annotations

import itertools

import pytest

from fbnetv5.archs.families import FAMILIES, NUM_PATHS, STRIDES, Layer, get_family
from fbnetv5.base.errors import InputError


def test_family_a_is_listing_1_of_the_paper():
    family = get_family("A")
    assert family.channels == (24, 40, 120, 224)
    assert [len(partition) for partition in family.partitions] == [7, 5, 11, 7]
    assert family.partitions[0][0] == Layer("conv", 3, 3, 16, 2, 1, False, 1)
    assert family.partitions[0][3] == Layer("ir", 5, 16, 24, 2, 4, False, 2)
    assert family.partitions[1][1] == Layer("ir", 5, 40, 40, 1, 3, True, 2)
    assert family.partitions[3][6] == Layer("ir", 5, 184, 224, 1, 6, True, 2)


def test_blocks_of_family_a_are_listing_2_of_the_paper():
    family = get_family("A")
    assert family.block(0) == (Layer("ir", 5, 24, 24, 1, 2, False, 2),) * 2
    assert family.block(1) == (Layer("ir", 5, 40, 40, 1, 3, True, 2),) * 2
    assert family.block(2) == (Layer("ir", 5, 120, 120, 1, 3, True, 2),) * 2
    assert family.block(3) == (Layer("ir", 5, 224, 224, 1, 4, True, 2), Layer("ir", 5, 224, 224, 1, 6, True, 2))


def test_paddings_set_by_hand_stay_in_the_first_row():
    unusual = {
        (name, partition, index): layer.padding
        for name, family in FAMILIES.items()
        for partition, layers in enumerate(family.partitions)
        for index, layer in enumerate(layers)
        if layer.padding != layer.kernel // 2
    }
    assert unusual == {
        ("A", 2, 0): 1,
        ("A", 3, 0): 0,
        ("B", 2, 0): 1,
        ("B", 3, 0): 0,
        ("C", 2, 0): 1,
        ("C", 3, 0): 1,
        ("E", 2, 0): 1,
        ("F", 3, 0): 0,
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_partitions_follow_one_another_and_reach_their_strides(name):
    family = FAMILIES[name]
    layers = [layer for partition in family.partitions for layer in partition]
    assert layers[0].in_channels == 3
    assert all(before.out_channels == after.in_channels for before, after in itertools.pairwise(layers))
    strides, stride = [], 1
    for partition in family.partitions:
        for layer in partition:
            stride *= layer.stride
        strides.append(stride)
    assert tuple(strides) == STRIDES
    assert all(low < high for low, high in itertools.pairwise(family.channels))
    assert len(family.partitions) == NUM_PATHS


@pytest.mark.parametrize("base", ["NANO", "A_C", "G"])
def test_variants_change_what_their_names_say(base):
    plain, lite, x8 = (get_family(name) for name in (base, f"{base}-lite", f"{base}-lite-x8"))
    assert (lite.name, lite.channels, lite.timm_network) == (f"{base}-lite", plain.channels, None)
    for layers, lite_layers, rounded in zip(plain.partitions, lite.partitions, x8.partitions, strict=True):
        for layer, other, wide in zip(layers, lite_layers, rounded, strict=True):
            assert (other.activation, other.squeeze_excite) == ("relu6", False)
            assert (other.kernel, other.expansion, other.stride) == (layer.kernel, layer.expansion, layer.stride)
            assert wide.out_channels % 8 == 0
            assert wide.out_channels >= 0.9 * layer.out_channels
    assert get_family("A_C-x8").channels == (24, 32, 80, 168)


def test_a_variant_that_there_is_not_is_named():
    with pytest.raises(InputError, match="family A_C-light: 'light' is none of the variants lite, x8"):
        get_family("A_C-light")


@pytest.mark.parametrize(
    ("in_channels", "expansion", "expanded", "squeezed"),
    # 18 / 4 = 4.5 and 36 both round half up; 72 / 4 = 18 rounds to 16, which is below 95 % of 18.
    [(18, 2, 40, 8), (30, 5, 152, 8), (72, 5, 360, 24), (138, 4, 552, 40), (12, 1, 12, 8), (120, 3, 360, 32)],
)
def test_widths_inside_a_layer(in_channels, expansion, expanded, squeezed):
    layer = Layer("ir", 3, in_channels, in_channels, 1, expansion, True, 1)
    assert (layer.expanded_channels, layer.squeezed_channels) == (expanded, squeezed)


def test_residual_only_between_equal_shapes():
    assert Layer("ir", 3, 16, 16, 1, 2, False, 1).has_residual
    assert not Layer("ir", 3, 16, 24, 1, 2, False, 1).has_residual
    assert not Layer("ir", 3, 16, 16, 2, 2, False, 1).has_residual
    assert not Layer("conv", 3, 16, 16, 1, 1, False, 1).has_residual


def test_unknown_family_names_the_nearest():
    with pytest.raises(InputError, match="unknown family 'NANNO'"):
        get_family("NANNO")
