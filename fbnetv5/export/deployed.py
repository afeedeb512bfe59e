"""A trained model as one function from an image of a fixed size to its predictions: what every format exports."""

from __future__ import annotations

import copy

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fbnetv5.archs.cost import feature_sizes
from fbnetv5.errors import InputError
from fbnetv5.heads.deployed import DeployableHead
from fbnetv5.heads.sizes import Size
from fbnetv5.model import TaskNet


class DeployedModel(nn.Module):
    """Network and head for one image; :func:`deploy` makes one.

    Args:
        network: images [1, 3, H, W] to features by path.
        head: features to named tensors.
    """

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Predict for one image [1, 3, H, W], normalised; :class:`DeployableHead` says what is returned."""
        outputs: dict[str, Tensor] = self.head(self.network(image))
        return outputs


def deploy(model: TaskNet, size: Size) -> DeployedModel:
    """Return a copy of a model for one image of ``size`` (height, width), BN folded into the convolutions before it.

    Raises:
        InputError: the head cannot be exported.
    """
    model = folded(model).cpu().float()
    if not isinstance(model.head, DeployableHead):
        raise InputError(f"the head {type(model.head).__name__} cannot be exported: it has no 'deployed'")
    with torch.no_grad():
        head = model.head.deployed(size, feature_sizes(model.network.family, size))
    return DeployedModel(model.network, head).eval()


def folded(model: TaskNet) -> TaskNet:
    """Return a copy of a model in evaluation mode with BN folded into convolutions; activations stay in their place."""
    model = copy.deepcopy(model).eval()
    for parent in list(model.modules()):
        conv = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                conv = name
            elif isinstance(child, nn.BatchNorm2d) and conv is not None:
                setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), child))
                setattr(parent, name, child.act if isinstance(child, BatchNormAct2d) else nn.Identity())
                conv = None
    return model
