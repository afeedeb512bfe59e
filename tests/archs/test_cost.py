from __future__ import annotations

import pytest
import torch
from torch import nn

from fbnetv5.archs import cost
from fbnetv5.archs.cost import Cost, classifier_cost, measured_macs, network_cost
from fbnetv5.archs.families import FAMILIES, get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.errors import InputError
from fbnetv5.heads.classifier import MBPoolClassifier
from tests.on_request import some_on_request

# Family, side of the image, MACs and parameters in millions, as the public FBNetV3 definitions state them.
PUBLISHED = [
    ("A", 224, 355.5, 8.60),
    ("B", 248, 460.1, 8.60),
    ("C", 248, 555.6, 9.97),
    ("F", 272, 1178.9, 13.90),
    ("G", 320, 2125.2, 16.62),
]


def num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "side", "macs", "params"), PUBLISHED)
def test_plain_fbnetv3_costs_what_was_published(name, side, macs, params):
    """The linear network and the classifier with 1000 classes, from the cost table and from the built model."""
    family, size = FAMILIES[name], (side, side)
    linear = named_topology("linear", 1).prune((3,))
    table = network_cost(family, linear, size) + classifier_cost(family, 1000, size)
    assert family.input_size == side
    assert table.macs / 1e6 == pytest.approx(macs, rel=0.005)
    assert table.params / 1e6 == pytest.approx(params, rel=0.005)

    network = MultiPathNet(family, linear)
    head = MBPoolClassifier(family.channels[3], 1000)
    images = torch.zeros(1, 3, *size)
    with torch.no_grad():
        feature = network.eval()(images)[3]
    built = Cost(measured_macs(network, images) + measured_macs(head, feature), num_params(network) + num_params(head))
    assert table == built


def test_sizes_that_the_paddings_of_family_a_give():
    assert cost.feature_sizes(FAMILIES["A"], (224, 224)) == ((56, 56), (28, 28), (13, 13), (6, 6))
    assert cost.feature_sizes(FAMILIES["A_C"], (384, 320)) == ((96, 80), (48, 40), (24, 20), (12, 10))


def test_images_below_the_stride_are_refused():
    with pytest.raises(InputError, match="32x48 pixels leave none on path 3 of family A, whose stride is 32"):
        cost.feature_sizes(FAMILIES["A"], (32, 48))


def assert_table_is_measured(family, topology, size):
    network = MultiPathNet(family, topology)
    measured = Cost(measured_macs(network, torch.zeros(1, 3, *size)), num_params(network))
    assert network_cost(family, topology, size) == measured


@pytest.mark.parametrize(("seed", "size"), [(0, (64, 64)), (1, (131, 93))])
def test_table_is_fvcores_count_for_random_topologies(seed, size, random_topology):
    topology = random_topology(seed, 4)
    assert_table_is_measured(FAMILIES["NANO"], topology, size)
    assert_table_is_measured(FAMILIES["NANO"], topology.prune(topology.outputs), size)


@pytest.mark.parametrize(("family", "topology"), [("A_C", "unet"), ("A", "panet"), ("NANO", "bifpn")])
def test_table_is_fvcores_count_for_named_topologies(family, topology):
    assert_table_is_measured(FAMILIES[family], named_topology(topology, 7).prune((1, 3)), (149, 107))


@pytest.mark.parametrize("family", some_on_request([*FAMILIES, "A_C-lite-x8"], {*"BCDEF"}))  # of one table's rows
def test_table_is_fvcores_count_for_every_family(family):
    assert_table_is_measured(get_family(family), Topology.full(1), (96, 129))


@pytest.mark.parametrize("seed", range(20))
def test_pruning_saves_the_blocks_it_drops(seed, random_topology):
    family, size = FAMILIES["A"], (224, 224)
    topology = random_topology(seed, 5)
    pruned = topology.prune(topology.outputs)
    before, after = network_cost(family, topology, size), network_cost(family, pruned, size)
    if pruned == topology:
        assert after == before
    else:
        assert after.macs < before.macs
        assert after.params < before.params


def test_block_macs_are_what_a_block_adds():
    family, size = FAMILIES["A_R"], (160, 160)
    macs = cost.block_macs(family, 3, size)
    without = Topology(3, frozenset({(1, 0)}))
    for stage in (1, 2, 3):
        for path in range(4):
            added = network_cost(family, Topology(3, without.blocks | {(stage, path)}), size).macs
            expected = 0 if (stage, path) == (1, 0) else macs[(stage - 1) * 4 + path]
            assert added - network_cost(family, without, size).macs == expected
    assert len(macs) == 12


@pytest.mark.parametrize(("name", "seed"), [*(("NANO", seed) for seed in range(4)), ("A_C", 4), ("A", 5), ("F", 6)])
def test_trunk_and_block_params_are_those_of_the_built_network(name, seed, random_topology):
    family, topology = FAMILIES[name], random_topology(seed, 3)
    with_trunk = Topology(3, topology.blocks)
    params = cost.block_params(family, 3)
    trunk = sum(part.params for part in cost.partition_costs(family, (96, 96)))
    chosen = sum(params[(stage - 1) * 4 + path] for stage, path in topology.blocks)
    assert trunk + chosen == num_params(MultiPathNet(family, with_trunk))


def test_cost_of_a_convolution_by_hand():
    assert cost.conv_cost(in_channels=4, out_channels=6, size=(5, 7), kernel=3, bias=True) == Cost(
        macs=6 * 4 * 9 * 35, params=6 * 4 * 9 + 6
    )
    assert cost.conv_cost(in_channels=6, out_channels=6, size=(5, 7), kernel=3, groups=6) == Cost(6 * 9 * 35, 6 * 9)


def test_measured_macs_count_products_alone():
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1))
    module.train()
    assert measured_macs(module, torch.zeros(1, 2, 4, 4)) == 2 * 3 * 16
    assert module.training
    assert module[1].num_batches_tracked == 0


def test_counting_leaves_every_part_in_its_mode():
    kept = nn.Conv2d(3, 4, 1).eval()
    whole = nn.Sequential(kept, nn.BatchNorm2d(4))
    assert measured_macs(whole, torch.zeros(1, 3, 2, 2)) == 3 * 4 * 4
    assert [part.training for part in whole.modules()] == [True, False, True]
