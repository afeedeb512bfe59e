"""A linear classifier on the averaged feature of one path: what most people put on a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fbnetv5.base.types import Features, Size
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.label_head import LabelHead


class PooledLinear(nn.Module):
    """Averages to class scores by one layer.

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

    def forward(self, means: Tensor) -> Tensor:
        """Map ``[N, in_channels]`` to logits ``[N, num_classes]``."""
        logits: Tensor = self.classify(self.dropout(means))
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

    def maps(self, features: Features) -> Tensor:
        """Return what is averaged, [n, C, h, w]."""
        (path,) = self.paths
        return features[path]

    def logits(self, means: Tensor) -> Tensor:
        """Return the classes' logits, [n, K]."""
        logits: Tensor = self.classifier(means.flatten(1))
        return logits

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width)."""
        return self.classifier.classify.weight.numel()
