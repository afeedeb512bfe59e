"""A supernet whose blocks count as much as gates say, for search methods that need the derivative of a choice."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.tasks.multitask import MultitaskNet


class GatedNetwork(nn.Module):
    """A supernet whose blocks count as much as their gates [B, 2] say; option 1 of a slot is to select its block."""

    def __init__(self, network: MultiPathNet, gates: Tensor) -> None:
        super().__init__()
        self.network = network
        self.gates = gates

    def forward(self, images: Tensor, topology: Topology) -> dict[int, Tensor]:
        """Return path to feature, as :class:`MultiPathNet` does."""
        return self.network(images, topology, self.gates[:, 1].view(topology.num_stages, NUM_PATHS))


def gated(model: MultitaskNet, names: Sequence[str], gates: Tensor) -> MultitaskNet:
    """Return the model with some of its tasks, on a gated network; all modules are shared with it."""
    tasks, heads = {name: model.tasks[name] for name in names}, {name: model.heads[name] for name in names}
    return MultitaskNet(GatedNetwork(model.network, gates), tasks, heads)  # type: ignore[arg-type]
