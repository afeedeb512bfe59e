"""The classifier of FBNetV3: MBPool and a fully connected layer; and the head of final models that is made of it."""

from __future__ import annotations

from collections.abc import Sequence

from timm.models._efficientnet_blocks import ConvBnAct
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn

from fbnetv5.archs.cost import conv_cost
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.label_head import LabelHead


class MBPoolClassifier(nn.Module):
    """Feature to class scores: expand, average over the image, then two 1x1 layers.

    Args:
        in_channels: channels of the feature.
        num_classes: number of classes.
        expansion: the feature is averaged at ``expansion * in_channels`` channels.
        hidden_channels: width between the average and the class scores.
    """

    def __init__(self, in_channels: int, num_classes: int, expansion: int = 6, hidden_channels: int = 1984) -> None:
        super().__init__()
        expanded_channels = in_channels * expansion
        self.expand = ConvBnAct(in_channels, expanded_channels, 1, act_layer=nn.Hardswish)
        self.hidden = nn.Conv2d(expanded_channels, hidden_channels, 1, bias=False)
        self.activation = nn.Hardswish(inplace=True)
        self.classify = nn.Linear(hidden_channels, num_classes)
        efficientnet_init_weights(self)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        logits: Tensor = self.classify(self.embed(self.expand(feature).mean(dim=(2, 3), keepdim=True)))
        return logits

    def embed(self, means: Tensor) -> Tensor:
        """Map the means of what :attr:`expand` gives, ``[N, C, 1, 1]``, to what the class scores are computed from,
        ``[N, hidden_channels]``."""
        embedding: Tensor = self.activation(self.hidden(means)).flatten(1)
        return embedding


class Classifier(LabelHead):
    """Classification: a class an image.

    Args:
        channels: of the features, one number a path.
        num_classes: K.
        path: the path read.
        expansion: the feature is averaged at ``expansion * channels[path]`` channels.
        hidden_channels: width between the average and the class scores.
        dropout: probability of dropping a number before the last layer.
        label_smoothing: share of a label that is spread over all classes, below 1.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        expansion: int = 6,
        hidden_channels: int = 1984,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(label_smoothing)
        self.paths = ascending_paths(path)
        self.classifier = MBPoolClassifier(channels[path], num_classes, expansion, hidden_channels)
        self.dropout = nn.Dropout(dropout)

    def maps(self, features: Features) -> Tensor:
        """Return what is averaged, [n, expansion * C, h, w]."""
        (path,) = self.paths
        maps: Tensor = self.classifier.expand(features[path])
        return maps

    def logits(self, means: Tensor) -> Tensor:
        """Return the classes' logits, [n, K]."""
        logits: Tensor = self.classifier.classify(self.dropout(self.classifier.embed(means)))
        return logits

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width)."""
        (path,) = self.paths
        expand, hidden, classify = self.classifier.expand.conv, self.classifier.hidden, self.classifier.classify
        cost = conv_cost(in_channels=expand.in_channels, out_channels=expand.out_channels, size=sizes[path])
        cost += conv_cost(in_channels=hidden.in_channels, out_channels=hidden.out_channels, size=(1, 1))
        cost += conv_cost(in_channels=classify.in_features, out_channels=classify.out_features, size=(1, 1))
        return cost.macs
