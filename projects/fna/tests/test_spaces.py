"""The paper's tables, and what choices stand for."""

from __future__ import annotations

import dataclasses

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.block_spec import BlockSpec, Stem
from fbnetv5.projects.fna.network import architecture_cost, get_architecture
from fbnetv5.projects.fna.space import Space
from fbnetv5.projects.fna.spaces import SPACES, get_space

# (stem, then channels, layers and nominal stride of each stage) of Tables 1 and 9. The segmentation column prints
# stride 1 for the stage of 160 channels; test_segmentation_runs_at_output_stride_16 covers that.
SEG = (32, [(16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 6, 2), (96, 6, 1), (160, 4, 2), (320, 1, 1)])
DET = (32, [(16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 2), (320, 1, 1)])
LITE0 = (32, [(16, 1, 1), (24, 4, 2), (40, 4, 2), (80, 4, 2), (112, 4, 1), (192, 4, 2), (320, 1, 1)])
TABLES = {
    "mobilenetv2_seg": SEG,
    "mobilenetv2_det": DET,
    "mobilenetv2_pose": DET,
    "fbnetc": (16, [(16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1)]),
    "efficientnet_lite0_seg": LITE0,  # not from the paper
    "efficientnet_lite0_det": LITE0,
    "efficientnet_lite0_pose": LITE0,
    "proxyless": (32, [(16, 1, 1), (32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)]),
}
SEARCHED = ["k3e3", "k5e3", "k7e3", "k3e6", "k5e6", "k7e6"]


@pytest.mark.parametrize("name", TABLES)
def test_mobile_spaces_are_tables_1_and_9(name: str):
    stem, stages = TABLES[name]
    space = get_space(name)
    assert space.stem == Stem(stem)
    largest = space.largest
    assert [(stage[0].channels, len(stage), stage[0].stride) for stage in largest.stages] == stages
    assert all(block.stride == 1 for stage in largest.stages for block in stage[1:])
    for slot, options in zip(space.slots, space.option_names, strict=True):
        assert list(options) == SEARCHED + ["skip"] * (slot.layer > 0)
    assert len(space.slots) == sum(layers for _, layers, _ in stages) - 1
    (first,) = space.stages[0][0]
    assert first is not None
    assert (first.kernel, first.ratio) == (3, 1)


def test_segmentation_runs_at_output_stride_16():
    space = get_space("mobilenetv2_seg")
    assert space.output_stride == 16
    stages = space.dilated().stages
    assert {block.stride for block in stages[5][0] if block} == {1}
    assert {block.dilation for block in stages[5][1] if block} == {2}


@pytest.mark.parametrize(("name", "kind", "layers"), [("resnet18", "basic", 8), ("resnet50", "bottleneck", 16)])
def test_residual_spaces_are_table_7(name: str, kind: str, layers: int):
    space = get_space(name)
    assert set(space.option_names) == {("k3g1", "k5g2", "k5g4", "k7g4", "k7g8")}
    assert len(space.slots) == layers
    assert space.decode([0] * layers) == get_architecture(name)
    assert {candidate.kind for slot in space.slots for candidate in slot.candidates if candidate} == {kind}


@pytest.mark.parametrize("name", SPACES)
def test_spaces_fit_their_seeds(name: str):
    space = get_space(name)
    seed = get_architecture(space.seed)
    largest = space.largest
    assert seed.stem == space.stem
    assert (seed.activation, seed.bn_epsilon) == (space.activation, space.bn_epsilon)
    assert seed.channels == largest.channels
    assert all(len(theirs) <= len(ours) for theirs, ours in zip(seed.stages, largest.stages, strict=True))


@pytest.mark.parametrize("name", ["mobilenetv2_seg", "resnet50", "fbnetc"])
def test_costs_of_choices_add_up(name: str):
    space, size = get_space(name), (64, 96)
    choices = [number % options for number, options in enumerate(space.num_options)]
    costs = space.candidate_macs(size)
    total = space.fixed_macs(size) + sum(row[choice] for row, choice in zip(costs, choices, strict=True))
    assert total == architecture_cost(space.decode(choices), size, space.output_stride).macs
    skips = [row[-1] for row, names in zip(costs, space.option_names, strict=True) if names[-1] == "skip"]
    assert not any(skips)


def test_a_skipped_layer_is_absent():
    space = get_space("mobilenetv2_det")
    choices = [3, 6, 1, 6] + [3] * 17
    stage = space.decode(choices).stages[1]
    assert [(block.kernel, block.ratio, block.stride) for block in stage] == [(3, 6, 2), (5, 3, 1)]
    assert space.slot_names[1] == "stage 1 / layer 1"


def test_choices_that_there_are_not_are_refused():
    space = get_space("mobilenetv2_det")
    with pytest.raises(ValueError, match="has 21 slots, got 2 choices"):
        space.decode([0, 0])
    with pytest.raises(ValueError, match="stage 1 / layer 0"):
        space.decode([6] + [0] * 20)
    with pytest.raises(InputError, match="unknown space 'mobilenetv2'"):
        get_space("mobilenetv2")


def test_layers_that_do_not_fit_are_refused():
    block = BlockSpec("mbconv", 16)
    with pytest.raises(ValueError, match="stage 0, layer 0"):
        Space("x", "x", Stem(8), (((block, None),),))
    with pytest.raises(ValueError, match="candidates of different channels or strides"):
        Space("x", "x", Stem(8), (((block, dataclasses.replace(block, stride=2)),),))
    with pytest.raises(ValueError, match="has no block among its candidates"):
        Space("x", "x", Stem(16), (((None,),),))
