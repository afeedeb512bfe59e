"""First values of blocks, from the trunk's last layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fbnetv5.archs.block_start import start_blocks
from fbnetv5.archs.blocks import last_parts
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.seeding import forked

FAMILIES = (
    "A",
    "NANO",
    "timm/efficientnet_lite0",
    "timm/mobilenetv3_small_050",
    "timm/mobilenetv4_conv_small_035",
    "timm/tinynet_e",
)


@pytest.fixture
def network(request, random_network) -> MultiPathNet:
    """A supernet of one stage with random weights and statistics everywhere."""
    return random_network(get_family(request.param), Topology.full(1))


@pytest.mark.parametrize("network", FAMILIES, indirect=True)
def test_zeroed_blocks_change_nothing(network):
    """Every path carries what its trunk partition ends with, plus what the fusion before its block adds."""
    start_blocks(network, "zeroed")
    block = network.blocks["s1_p2"]
    x = torch.randn(1, network.channels[2], 8, 8)
    with torch.no_grad():
        assert torch.equal(block(x), x)
    for path, layers in enumerate(map(network.family.block, range(4))):
        for layer, module in zip(layers, network.blocks[f"s1_p{path}"], strict=True):
            bn = module.get_submodule(last_parts(layer)[1])
            assert not bn.weight.any()
            assert not bn.bias.any()
            assert bn.running_var.all()  # of the trunk, for when the scale is learnt


def test_random_blocks_stay(random_network):
    network = random_network(get_family("NANO"), Topology.full(1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_blocks(network, "random")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("network", FAMILIES, indirect=True)
def test_copied_layers_compute_what_the_trunk_computes(network):
    """Layer by layer: on the trunk's channels, at stride 1, without shortcuts, whatever the block's width is."""
    start_blocks(network, "copied")
    for path, partition in enumerate(network.family.partitions):
        for index, target in zip(network.family.block_sources(path), network.blocks[f"s1_p{path}"], strict=True):
            source, layer = network.trunk[path][index], partition[index]
            if layer.in_channels > network.channels[path]:
                continue  # the block is narrower, and drops what the trunk's layer reads
            wide = torch.randn(1, network.channels[path], 9, 9)
            narrow = wide[:, : layer.in_channels]
            at_stride_one(source)
            for module in (source, target):
                module.has_skip = False
            with torch.no_grad():
                ours, theirs = target(wide), source(narrow)
            count = min(layer.out_channels, network.channels[path])
            assert torch.allclose(ours[:, :count], theirs[:, :count], atol=1e-4)


def at_stride_one(module: nn.Module) -> None:
    """Let a layer keep the size of what it reads."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride, conv.padding = (1, 1), (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)


def test_channels_that_a_block_adds_learn(random_network):
    """In A's last partition a layer of 184 channels becomes one of 224: what is added takes a gradient."""
    network = random_network(get_family("A"), Topology.full(1).prune((3,))).train()
    start_blocks(network, "copied")
    block = network.blocks["s1_p3"]
    block(torch.randn(4, 224, 4, 4)).square().sum().backward()
    first = block[0]
    assert first.conv_pwl.weight.shape[0] > network.trunk[3][-2].conv_pwl.weight.shape[0]
    assert not first.conv_pwl.weight[184:].any()
    assert not first.conv_pw.weight[:736, 184:].any()
    assert first.conv_pw.weight[736:, :184].any()
    assert first.conv_pwl.weight.grad.flatten(1).any(dim=1).all()
    assert first.conv_pwl.weight.grad[:, 736:].any()


def test_a_final_network_starts_as_the_supernet_does():
    family = get_family("NANO")
    networks = []
    for topology in (Topology.full(4), named_topology("fpn", 4)):
        with forked(0):
            networks.append(MultiPathNet(family, topology))
        start_blocks(networks[-1], "zeroed")
    supernet, final = networks
    own = supernet.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in final.state_dict().items() if name.startswith("blocks"))
