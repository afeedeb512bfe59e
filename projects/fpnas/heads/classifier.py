"""MobileNetV2's classifier (1801.04381, Table 2): one 1x1 convolution, the average over the image, one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

from timm.models._efficientnet_blocks import ConvBnAct
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from fbnetv5.archs.cost import conv_cost
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.label_head import LabelHead

HIDDEN_CHANNELS = 1280


class PooledClassifier(LabelHead):
    """Classification: a class an image.

    Args:
        channels: of the features, one number a path.
        num_classes: K.
        path: the path read.
        hidden_channels: that the feature is averaged at.
        dropout: probability of dropping a number before the last layer.
        label_smoothing: share of a label that is spread over all classes, below 1.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        hidden_channels: int = HIDDEN_CHANNELS,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(label_smoothing)
        self.paths = ascending_paths(path)
        self.expand = ConvBnAct(channels[path], hidden_channels, 1, act_layer=nn.ReLU6)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden_channels, num_classes)
        efficientnet_init_weights(self)

    def maps(self, features: Features) -> Tensor:
        """Return what is averaged, [n, hidden_channels, h, w]."""
        (path,) = self.paths
        maps: Tensor = self.expand(features[path])
        return maps

    def logits(self, means: Tensor) -> Tensor:
        """Return the classes' logits, [n, K]."""
        logits: Tensor = self.classify(self.dropout(means.flatten(1)))
        return logits

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width)."""
        expand, classify = self.expand.conv, self.classify
        return pooled_classifier_macs(
            expand.in_channels, classify.out_features, sizes[self.paths[0]], hidden_channels=expand.out_channels
        )


def pooled_classifier_macs(
    in_channels: int, num_classes: int, size: Size, *, hidden_channels: int = HIDDEN_CHANNELS
) -> int:
    """Return the MACs of a ``PooledClassifier`` on a feature of ``size`` (height, width)."""
    expand = conv_cost(in_channels=in_channels, out_channels=hidden_channels, size=size)
    return (expand + conv_cost(in_channels=hidden_channels, out_channels=num_classes, size=(1, 1))).macs
