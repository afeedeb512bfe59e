"""What the supernet of a family holds: parameters, whose gradients ranks sum, and what a backward pass needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.waiting import NUM_STAGES, SIDE, architecture_macs, distribution
from fbnetv5.archs.cost import block_params, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.search.algorithms import draw_proxy

HEAD_PATHS = (2, 3)  # of the paper's search heads
NUM_DRAWN = 8  # architectures that memory is averaged over


@dataclass(frozen=True)
class StepMemory:
    """A supernet without its heads at 224 pixels.

    Attributes:
        params: of the whole supernet.
        mean_macs: of an architecture at probabilities of one half.
        saved_bytes: for the backward pass, an image and such an architecture, in float32.
        most_saved_bytes: the same with all blocks.
    """

    family: str
    params: int
    mean_macs: float
    saved_bytes: float
    most_saved_bytes: float


def measure_memory_of(name: str) -> StepMemory:
    """Count parameters and MACs in closed form, and what autograd saves in forward passes of two images."""
    family = get_family(name)
    full = Topology.full(NUM_STAGES)
    trunk = network_cost(family, Topology(NUM_STAGES, frozenset(), outputs=(3,)), (SIDE, SIDE)).params
    choices = draw_proxy(distribution("p = 1/2", 0), NUM_DRAWN, 0, 0)
    space = TopologySpace(NUM_STAGES, [1.0] * (4 * NUM_STAGES))
    network = MultiPathNet(family, full).train()
    drawn = [space.decode(one.tolist()).prune(HEAD_PATHS) for one in choices]
    saved = [_saved_bytes(network, topology) for topology in drawn]
    return StepMemory(
        name,
        trunk + sum(block_params(family, NUM_STAGES)),
        float(architecture_macs(name, choices).mean()),
        sum(saved) / len(saved),
        _saved_bytes(network, full.prune(HEAD_PATHS)),
    )


def _saved_bytes(network: MultiPathNet, topology: Topology) -> float:
    """Return the bytes an image that autograd keeps of a forward pass, parameters not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = network(torch.zeros(2, 3, SIDE, SIDE), topology)
    assert features
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2
