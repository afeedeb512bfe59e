"""Random topologies to measure."""

from __future__ import annotations

import torch
from torch import Tensor

from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.seeding import Purpose, generator


def spread_chances(count: int) -> Tensor:
    """Return probabilities of a block [count]: 0.5 as a search starts for one half, from 0 to 1 for the other."""
    even = count // 2
    return torch.cat([torch.full((even,), 0.5), torch.linspace(0, 1, count - even)])


def draw_topologies(space: TopologySpace, chances: Tensor, seed: int) -> list[Topology]:
    """Draw a topology for each of ``chances`` [n], every block with that probability, with all outputs."""
    draws = torch.rand(len(chances), len(space.num_options), generator=generator(seed, Purpose.ARCHITECTURES))
    return [space.decode(row) for row in (draws < chances[:, None]).int().tolist()]
