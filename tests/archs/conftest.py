"""Random topologies and networks, from fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

from fbnetv5.archs.families import Family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology


@pytest.fixture
def random_topology() -> Callable[[int, int], Topology]:
    """A function of (seed, num_stages): each block with a probability that is itself random, and random outputs."""

    def draw(seed: int, num_stages: int) -> Topology:
        generator = random.Random(seed)
        probability = generator.random()
        full = sorted(Topology.full(num_stages).blocks)
        blocks = frozenset(block for block in full if generator.random() < probability)
        outputs = sorted(generator.sample(range(4), generator.randint(1, 4)))
        return Topology(num_stages, blocks, tuple(outputs))

    return draw


@pytest.fixture
def random_network() -> Callable[[Family, Topology], MultiPathNet]:
    """A function of (family, topology): a network in eval mode whose BN statistics and scales are random too."""

    def build(family: Family, topology: Topology) -> MultiPathNet:
        torch.manual_seed(0)
        network = MultiPathNet(family, topology)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias, std=0.1)
        return network.eval()

    return build
