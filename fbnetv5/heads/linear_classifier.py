"""A linear classifier on the averaged feature of one path: what most people put on a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fbnetv5.base.types import Features, Size
from fbnetv5.heads.classifier import DeployedClassifier
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.label_head import LabelHead


class PooledLinear(nn.Module):
    """Feature to class scores: average over the image, then one layer.

    Args:
        in_channels: channels of the feature.
        num_classes: number of classes.
        dropout: probability of dropping a channel of the average, in training.
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(in_channels, num_classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        logits: Tensor = self.classify(self.dropout(feature.mean(dim=(2, 3))))
        return logits


class LinearClassifier(LabelHead):
    """Classification: a class an image, by one layer.

    Args:
        channels: of the features, one number a path.
        num_classes: K.
        path: the path read.
        dropout: probability of dropping a channel before the layer.
        label_smoothing: share of a label that is spread over all classes, below 1.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(label_smoothing)
        self.paths = ascending_paths(path)
        self.classifier = PooledLinear(channels[path], num_classes, dropout)

    def logits(self, features: Features) -> Tensor:
        """Return the classes' logits, [n, K]."""
        (path,) = self.paths
        logits: Tensor = self.classifier(features[path])
        return logits

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what classifies one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`."""
        return DeployedClassifier(self.classifier, self.paths[0])

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width)."""
        return self.classifier.classify.weight.numel()
