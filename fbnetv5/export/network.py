"""The network of FBNetV5, of one task or several, as it runs on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.fusion import to_lower_resolution
from fbnetv5.archs.joint import JointNet
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.base.types import Size


class DeployedFusion(nn.Module):
    """The fusions of a network, of which those to higher resolution average channels by a constant 1x1 convolution.

    XNNPACK has no mean over groups of channels; with a convolution the feature stays in its delegate, and is small
    before it leaves it to be enlarged.
    """

    channels: tuple[int, ...]

    def _keep_means(self) -> None:
        for source in range(NUM_PATHS):
            for target in range(source):
                means = group_means(self.channels[source], self.channels[target])
                self.register_buffer(_name(source, target), means, persistent=False)

    def resample(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Bring a feature [N, C, H, W] of path ``source`` to path ``target``, of ``size`` (height, width)."""
        if source < target:
            return to_lower_resolution(x, self.channels[target], size)
        return self.enlarge(F.conv2d(x, getattr(self, _name(source, target))), source, target, size)

    def enlarge(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Enlarge a feature [N, C, H, W] of path ``source`` to ``size`` (height, width) by repeating pixels."""
        return F.interpolate(x, size=size, mode="nearest")


class DeployedNetwork(DeployedFusion, MultiPathNet):
    """A network of one task.

    Args:
        network: its modules are shared.
    """

    def __init__(self, network: MultiPathNet) -> None:
        nn.Module.__init__(self)
        self.family, self.topology, self.channels = network.family, network.topology, network.channels
        self.trunk, self.blocks = network.trunk, network.blocks
        self._keep_means()


class DeployedJointNetwork(DeployedFusion, JointNet):
    """A network of several tasks.

    Args:
        network: its modules are shared.
    """

    def __init__(self, network: JointNet) -> None:
        nn.Module.__init__(self)
        self.family, self.topologies, self.channels = network.family, network.topologies, network.channels
        self.share, self.plan, self.trunk = network.share, network.plan, network.trunk
        if network.share == "blocks":
            self.blocks = network.blocks
        else:
            self.branches = network.branches
        self._keep_means()


def group_means(in_channels: int, out_channels: int) -> Tensor:
    """Return the weights [out, in, 1, 1] that average groups of channels, of which the last may lack some or all."""
    size = -(-in_channels // out_channels)
    owner = torch.arange(in_channels) // size
    weights = (owner[None, :] == torch.arange(out_channels)[:, None]).float() / size
    return weights[:, :, None, None]


def _name(source: int, target: int) -> str:
    return f"means_{source}_{target}"
