"""A trained model as one function from an image of a fixed size to its predictions: what every format exports."""

from __future__ import annotations

import copy
from collections.abc import Collection
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features, Size, TargetKind
from fbnetv5.export.network import DeployedNetwork
from fbnetv5.heads.head import DeployableHead, Head
from fbnetv5.model.task_net import TaskNet

ALONE = ""
"""The task of a model that has but one, which goes without a name."""

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class DeployedModel(nn.Module):
    """Network and head for one image; :func:`deploy` makes one.

    Args:
        network: images [1, 3, H, W] to whatever the head reads, such as features by path.
        head: that to named tensors.
        pads: whether an image may cover less than the input; crops cover all of it.
    """

    def __init__(self, network: nn.Module, head: nn.Module, pads: bool = True) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.pads = pads

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Predict for one image [1, 3, H, W], normalised, zeros on the right and below where it is padded.

        :class:`DeployableHead` says what is returned.
        """
        return self.by_task(image)[ALONE]

    def by_task(self, image: Tensor) -> dict[str, dict[str, Tensor]]:
        """Return what :meth:`forward` does, by task."""
        return {ALONE: self.head(self.network(image), covered_size(image) if self.pads else None)}


class CoarseMaps(nn.Module):
    """A head's maps at a share of the input's resolution, enlarged by repeating each value.

    Args:
        head: deployed for an image of a size divided by ``stride``; it gives maps alone.
        stride: pixels of the input, on a side, that share a value.
    """

    def __init__(self, head: nn.Module, stride: int) -> None:
        super().__init__()
        self.head = head
        self.stride = stride

    def forward(self, features: Any, covered: Tensor) -> dict[str, Tensor]:
        """Return the head's maps [h, w] as [h x stride, w x stride]."""
        return {name: self._enlarged(values) for name, values in self.head(features, covered / self.stride).items()}

    def _enlarged(self, values: Tensor) -> Tensor:
        height, width = values.shape
        repeated = values[:, None, :, None].expand(height, self.stride, width, self.stride)
        return repeated.reshape(height * self.stride, width * self.stride)


def covered_size(image: Tensor) -> Tensor:
    """Return the (height, width) of the input [1, 3, H, W] that the image covers, float [2].

    Padding is zero, the mean colour. No pixel of an image is, as long as a channel's mean is no whole number of 255.
    Where all are, as 127, a picture's last rows and columns of nothing but that colour count as padding.
    """
    magnitude = image[0].abs().amax(dim=0)
    return torch.cat([_last(magnitude.amax(dim=1)), _last(magnitude.amax(dim=0))])


def _last(values: Tensor) -> Tensor:
    """Return how far values [n] reach that are not zero: 1 more than the last one's position, [1]."""
    places = torch.arange(1, len(values) + 1, dtype=values.dtype, device=values.device)
    return (places * (values > 0)).amax(dim=0, keepdim=True)


def deploy(model: TaskNet, size: Size, map_stride: int = 1) -> DeployedModel:
    """Return a copy of a model for one image of ``size`` (height, width), BN folded into the convolutions before it.

    Args:
        model: as trained.
        size: of the image, in pixels.
        map_stride: of masks: pixels on a side that share a class, which divides the size.

    Raises:
        InputError: the head cannot be exported, or not with this ``map_stride``.
    """
    check_map_stride(map_stride, [model.head.target.kind], size)
    model = folded(model).cpu().float()
    with torch.no_grad():
        head = deployed_head(model.head, model.network(torch.zeros(1, 3, *size)), size, map_stride)
    network: Any = model.network
    network = DeployedNetwork(network) if isinstance(network, MultiPathNet) else network
    return DeployedModel(network, head, pads=model.spec.input.crop is None).eval()


def deployed_head(head: Head, features: Features, size: Size, map_stride: int) -> nn.Module:
    """Return a head's form for one image of ``size``.

    Args:
        head: in evaluation mode.
        features: of any such image, by path.
        size: (height, width) of the image.
        map_stride: of masks: pixels on a side that share a class.

    Raises:
        InputError: the head cannot be exported.
    """
    if not isinstance(head, DeployableHead):
        raise InputError(f"the head {type(head).__name__} cannot be exported: it has no 'deployed'")
    sizes = [_size(features[path]) if path in features else (0, 0) for path in range(NUM_PATHS)]
    if map_stride == 1 or head.target.kind is not TargetKind.MASK:
        return head.deployed(size, sizes)
    return CoarseMaps(head.deployed((size[0] // map_stride, size[1] // map_stride), sizes), map_stride)


def check_map_stride(stride: int, kinds: Collection[TargetKind], size: Size) -> None:
    """Raise InputError if no head predicts maps, or if they cannot have this stride."""
    if stride > 1 and TargetKind.MASK not in kinds:
        raise InputError(f"export.map_stride={stride} is for maps of classes, and this model gives none: set 1")
    if any(side % stride for side in size):
        raise InputError(f"export.map_stride={stride} does not divide the input of {size[0]} x {size[1]} pixels")


def folded(model: AnyModule) -> AnyModule:
    """Return a copy of a model in evaluation mode with BN folded into convolutions; activations stay in their place.

    A BN is folded that is the next module after a convolution, plain or transposed, of its width. One that stands
    elsewhere, such as before a convolution, stays.
    """
    model = copy.deepcopy(model).eval()
    for parent in list(model.modules()):
        for (name, conv), (bn_name, bn) in pairwise(list(parent.named_children())):
            if isinstance(bn, nn.BatchNorm2d) and _is_folded_into(conv, bn):
                transposed = isinstance(conv, nn.ConvTranspose2d)
                setattr(parent, name, fuse_conv_bn_eval(cast(Any, conv), bn, transpose=transposed))
                setattr(parent, bn_name, bn.act if isinstance(bn, BatchNormAct2d) else nn.Identity())
    return model


def _is_folded_into(conv: nn.Module, bn: nn.BatchNorm2d) -> bool:
    if isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1:  # whose weights are not laid out by output channel
        return False
    return isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)) and conv.out_channels == bn.num_features


def _size(feature: Tensor) -> Size:
    return feature.shape[-2], feature.shape[-1]
