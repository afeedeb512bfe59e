"""Remapping of whole networks."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import BlockSpec
from fbnetv5.projects.fna.network import FNANetwork, get_architecture
from fbnetv5.projects.fna.remap import (
    Strategy,
    candidate_prefix,
    collect_from_super_network,
    remap_network,
    remap_to_super_network,
    source_index,
)
from fbnetv5.projects.fna.super_network import SuperNetwork
from fbnetv5.projects.fna.tests.networks import images, map_blocks, mobile, residual, space, trained

EVERY_KIND = {"mobile": mobile(), "basic": residual("basic"), "bottleneck": residual("bottleneck")}


def remapped(seed: FNANetwork, target: Architecture, strategy: Strategy | None = None) -> FNANetwork:
    network = FNANetwork(target.to_dict()).eval()
    network.load_state_dict(remap_network(seed.state_dict(), seed.architecture, target, strategy), strict=True)
    return network


@torch.no_grad()
def assert_same_function(ours: FNANetwork, theirs: FNANetwork) -> None:
    x = images(64, 80)
    features, expected = ours(x), theirs(x)
    for path, feature in expected.items():
        torch.testing.assert_close(features[path][:, : feature.shape[1]], feature, rtol=1e-4, atol=1e-4)
        assert features[path][:, feature.shape[1] :].count_nonzero() == 0


def test_block_i_of_a_stage_is_the_seeds_block_i_or_its_last():  # eq. 1, counted from 0
    assert [source_index(index, 3) for index in range(5)] == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("architecture", EVERY_KIND.values(), ids=EVERY_KIND)
@pytest.mark.parametrize("strategy", [Strategy(), Strategy(width="net2wider"), Strategy(width="bn", noise=0.1)])
def test_expansion_keeps_the_function_of_whole_networks(architecture: Architecture, strategy: Strategy):
    seed = trained(architecture)
    wider = dataclasses.replace(
        architecture,
        stages=tuple(
            tuple(
                dataclasses.replace(block, kernel=block.kernel + 2)
                if block.kind == "separable"
                else dataclasses.replace(block, kernel=block.kernel + 2, expansion=2 * block.ratio)
                for block in stage
            )
            for stage in architecture.stages
        ),
    )
    assert_same_function(remapped(seed, wider, strategy), seed)


def test_wider_stages_keep_the_function_and_add_zeros():
    seed = trained(residual("basic"))
    stages = tuple(
        tuple(dataclasses.replace(block, channels=block.channels * 2) for block in stage)
        for stage in seed.architecture.stages
    )
    stem = dataclasses.replace(seed.architecture.stem, channels=16)
    assert_same_function(remapped(seed, dataclasses.replace(seed.architecture, stages=stages, stem=stem)), seed)


@pytest.mark.parametrize("architecture", EVERY_KIND.values(), ids=EVERY_KIND)
def test_net2deeper_keeps_the_function(architecture: Architecture):
    seed = trained(architecture)
    stages = tuple((*stage, dataclasses.replace(stage[-1], stride=1)) for stage in architecture.stages)
    deeper = dataclasses.replace(architecture, stages=stages)
    assert_same_function(remapped(seed, deeper, Strategy(depth="net2deeper")), seed)


def test_an_equal_target_is_a_copy():
    seed = trained(mobile())
    weights = remap_network(seed.state_dict(), mobile(), mobile())
    for name, tensor in seed.state_dict().items():
        assert torch.equal(weights[name], tensor)
        assert weights[name].data_ptr() != tensor.data_ptr()


def test_shrinking_keeps_exactly_the_stated_slices():
    seed = trained(mobile())
    target = map_blocks(mobile(), expansion=3, kernel=3)
    target = dataclasses.replace(target, stages=(*target.stages[:3], target.stages[3][:2], target.stages[4]))
    theirs, ours = seed.state_dict(), remap_network(seed.state_dict(), mobile(), target)
    shapes = {name: tensor.shape for name, tensor in FNANetwork(target.to_dict()).state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.items()} == shapes
    for name, tensor in ours.items():
        source = theirs[name]
        if tensor.ndim == 4:
            margin = (source.shape[2] - tensor.shape[2]) // 2
            source = source[:, :, margin : margin + tensor.shape[2], margin : margin + tensor.shape[2]]
            source = source[: tensor.shape[0], : tensor.shape[1]]
        elif tensor.ndim == 1:
            source = source[: tensor.shape[0]]
        assert torch.equal(tensor, source), name


def test_every_candidate_of_a_layer_comes_from_one_block_of_the_seed():
    seed, searched = trained(mobile()), space()
    weights = remap_to_super_network(seed.state_dict(), mobile(), searched)
    SuperNetwork(searched).load_state_dict(weights, strict=True)
    theirs = seed.state_dict()
    for slot in searched.slots:
        source = f"blocks.{slot.stage}.{source_index(slot.layer, len(mobile().stages[slot.stage]))}"
        for number, candidate in enumerate(slot.candidates):
            if candidate is not None:
                prefix = candidate_prefix(slot.stage, slot.layer, number, residual=False)
                assert torch.equal(weights[f"{prefix}.bn3.running_mean"], theirs[f"{source}.bn3.running_mean"])


@torch.no_grad()
def test_the_super_network_holds_the_seed():
    """Along the candidates that are the seed's blocks or expand them, the super network computes what the seed does."""
    seed, searched = trained(mobile()), space()
    network = SuperNetwork(searched).eval()
    network.load_state_dict(remap_to_super_network(seed.state_dict(), mobile(), searched))
    largest = 5  # k7e6
    choice = [
        largest if slot.layer < len(mobile().stages[slot.stage]) else len(slot.candidates) - 1
        for slot in searched.slots
    ]
    x = images(64, 80)
    features, expected = network(x, choice=choice), seed(x)
    for path, feature in expected.items():
        torch.testing.assert_close(features[path], feature, rtol=1e-4, atol=1e-4)


def test_collecting_from_a_remapped_super_network_is_remapping_from_the_seed():
    seed, searched = trained(mobile()), space()
    weights = remap_to_super_network(seed.state_dict(), mobile(), searched)
    choice = [slot % 6 for slot in range(len(searched.slots))]
    collected = collect_from_super_network(weights, searched, choice)
    direct = remap_network(seed.state_dict(), mobile(), searched.decode(choice))
    assert collected.keys() == direct.keys()
    assert all(torch.equal(collected[name], direct[name]) for name in direct)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18"])
def test_a_remapped_network_loads_into_timms_module(name: str):
    architecture = get_architecture(name)
    # a seed of the same network but for its blocks: shallower, and with other kernels and widths inside
    changed = map_blocks(architecture, kernel=5) if architecture.is_residual else map_blocks(architecture, expansion=3)
    seed = trained(dataclasses.replace(changed, stages=tuple(stage[:2] for stage in changed.stages)))
    weights = remap_network(seed.state_dict(), seed.architecture, architecture)
    module = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    module.load_state_dict(weights, strict=True)
    whole = timm.create_model(name).load_state_dict(weights, strict=False)
    assert not whole.unexpected_keys
    assert {key.split(".")[0] for key in whole.missing_keys} <= {"conv_head", "bn2", "classifier", "fc"}
    ours = FNANetwork(name).eval()
    ours.load_state_dict(weights, strict=True)
    with torch.no_grad():
        for path, feature in enumerate(module(images(33, 33))):
            torch.testing.assert_close(ours(images(33, 33))[path], feature)


def damaged(change: dict[str, Tensor | None]) -> dict[str, Tensor]:
    weights: dict[str, Tensor | None] = dict(trained(mobile()).state_dict()) | change
    return {name: tensor for name, tensor in weights.items() if tensor is not None}


def test_missing_and_misshapen_entries_are_named_with_their_shapes():
    with pytest.raises(InputError, match=r"blocks.1.0.conv_dw.weight \[48, 1, 3, 3\]"):
        remap_network(damaged({"blocks.1.0.conv_dw.weight": None}), mobile(), mobile())
    with pytest.raises(InputError, match=r"bn1.bias"):
        remap_network(damaged({"bn1.bias": torch.zeros(9)}), mobile(), mobile())
    with pytest.raises(InputError, match=r"the super network .* is missing; .* and \d+ more"):
        collect_from_super_network(trained(mobile()).state_dict(), space(), [0] * len(space().slots))


def test_a_missing_counter_is_zero():
    weights = remap_network(damaged({"bn1.num_batches_tracked": None}), mobile(), mobile())
    assert weights["bn1.num_batches_tracked"] == 0


def test_a_target_deeper_than_the_seed_allows_is_refused():
    stages = list(mobile().stages)
    stages[2] = (stages[2][0], BlockSpec("mbconv", 16, 5, 3))
    deeper = dataclasses.replace(mobile(), stages=tuple(stages))
    seed = trained(mobile())
    message = r"blocks.2.1 is deeper than the seed's stage of 1 block allows: its last, blocks.2.0, goes from 8 to 16"
    with pytest.raises(InputError, match=message):
        remap_network(seed.state_dict(), mobile(), deeper)


def test_seeds_that_do_not_fit_are_refused():
    seed = trained(mobile())
    shorter = dataclasses.replace(mobile(), stages=mobile().stages[:4])
    with pytest.raises(InputError, match="the seed has 5 stages of blocks, the target 4"):
        remap_network(seed.state_dict(), mobile(), shorter)
    with pytest.raises(InputError, match="activation is relu6 in the seed and relu in the target"):
        remap_network(seed.state_dict(), mobile(), dataclasses.replace(mobile(), activation="relu"))
    with pytest.raises(InputError, match="the seed has 5 stages of blocks, the target 4"):
        remap_network(seed.state_dict(), mobile(), residual("basic"))
    four = dataclasses.replace(mobile(), stages=mobile().stages[:4])
    with pytest.raises(InputError, match="the seed has mobile blocks, the target ResNet blocks"):
        remap_network(seed.state_dict(), four, residual("basic"))
    first = (BlockSpec("mbconv", 8, expansion=1),)
    other = dataclasses.replace(mobile(), stages=(first, *mobile().stages[1:]))
    with pytest.raises(InputError, match=r"blocks.0.0 of the seed"):
        remap_network(seed.state_dict(), mobile(), other)
