"""The network of FBNetV5 as it runs on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.base.types import Size


class DeployedNetwork(MultiPathNet):
    """A network whose fusions to higher resolution average channels by a constant 1x1 convolution.

    XNNPACK has no mean over groups of channels; with a convolution the feature stays in its delegate, and is small
    before it leaves it to be enlarged.

    Args:
        network: its modules are shared.
    """

    def __init__(self, network: MultiPathNet) -> None:
        nn.Module.__init__(self)
        self.family, self.topology, self.channels = network.family, network.topology, network.channels
        self.trunk, self.blocks = network.trunk, network.blocks
        for source in range(NUM_PATHS):
            for target in range(source):
                means = group_means(self.channels[source], self.channels[target])
                self.register_buffer(_name(source, target), means, persistent=False)

    def resample(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Bring a feature [N, C, H, W] of path ``source`` to path ``target``, of ``size`` (height, width)."""
        if source < target:
            return super().resample(x, source, target, size)
        return self.enlarge(F.conv2d(x, getattr(self, _name(source, target))), source, target, size)

    def enlarge(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Enlarge a feature [N, C, H, W] of path ``source`` to ``size`` (height, width) by repeating pixels."""
        return F.interpolate(x, size=size, mode="nearest")


def group_means(in_channels: int, out_channels: int) -> Tensor:
    """Return the weights [out, in, 1, 1] that average groups of channels, of which the last may lack some or all."""
    size = -(-in_channels // out_channels)
    owner = torch.arange(in_channels) // size
    weights = (owner[None, :] == torch.arange(out_channels)[:, None]).float() / size
    return weights[:, :, None, None]


def _name(source: int, target: int) -> str:
    return f"means_{source}_{target}"
