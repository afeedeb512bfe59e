"""The classifier of FBNetV3: MBPool and a fully connected layer."""

from __future__ import annotations

from timm.models._efficientnet_blocks import ConvBnAct
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn


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
        pooled = self.expand(feature).mean(dim=(2, 3), keepdim=True)
        logits: Tensor = self.classify(self.activation(self.hidden(pooled)).flatten(1))
        return logits
