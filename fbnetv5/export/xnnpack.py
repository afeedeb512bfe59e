"""The same functions in operations that XNNPACK has."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.base.types import Size
from fbnetv5.export.network import DeployedFusion, DeployedJointNetwork, DeployedNetwork

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def for_xnnpack(model: AnyModule) -> AnyModule:
    """Return a copy of a model in evaluation mode that computes the same and leaves XNNPACK less often.

    Features are enlarged as :class:`RepeatingFusion` does. The hard sigmoid of squeeze-and-excitation, which ExecuTorch
    takes apart to additions and divisions by constants that it copies in every call, becomes a clamp: its scale and
    shift go into the convolution before it.
    """
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is DeployedNetwork:
                setattr(parent, name, XNNPACKNetwork(child).eval())
            if type(child) is DeployedJointNetwork:
                setattr(parent, name, XNNPACKJointNetwork(child).eval())
            if isinstance(child, SqueezeExcite) and isinstance(child.gate, nn.Hardsigmoid):
                _fold_gate(child)
    return model


class RepeatingFusion(DeployedFusion):
    """Fusions that enlarge by transposed convolutions, as XNNPACK has no enlarging by the nearest pixel.

    Each doubles the size: its kernel of 2 x 2 and stride 2 has the identity at every place, which repeats pixels.
    """

    def _keep_kernels(self) -> None:
        for path in range(NUM_PATHS - 1):
            kernel = torch.eye(self.channels[path])[:, :, None, None].expand(-1, -1, 2, 2)
            self.register_buffer(f"repeat_{path}", kernel.contiguous(), persistent=False)

    def enlarge(self, x: Tensor, source: int, target: int, size: Size) -> Tensor:
        """Enlarge a feature [N, C, H, W] of path ``source`` to ``size`` (height, width) by repeating pixels."""
        factor = 2 ** (source - target)
        if size != (x.shape[-2] * factor, x.shape[-1] * factor):  # of an odd size
            return super().enlarge(x, source, target, size)
        for _ in range(source - target):
            x = F.conv_transpose2d(x, getattr(self, f"repeat_{target}"), stride=2)
        return x


class XNNPACKNetwork(RepeatingFusion, DeployedNetwork):
    """A network of one task for XNNPACK.

    Args:
        network: its modules are shared.
    """

    def __init__(self, network: DeployedNetwork) -> None:
        DeployedNetwork.__init__(self, network)
        self._keep_kernels()


class XNNPACKJointNetwork(RepeatingFusion, DeployedJointNetwork):
    """A network of several tasks for XNNPACK.

    Args:
        network: its modules are shared.
    """

    def __init__(self, network: DeployedJointNetwork) -> None:
        DeployedJointNetwork.__init__(self, network)
        self._keep_kernels()


def _fold_gate(module: SqueezeExcite) -> None:
    """Replace the hard sigmoid, clamp(x / 6 + 1 / 2, 0, 1), by the clamp."""
    conv = module.conv_expand
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.div_(6)
        conv.bias.div_(6).add_(0.5)
    module.gate = nn.Hardtanh(0.0, 1.0)
