"""The layers of Lite R-CNN, laid out as in Detectron2 and called as torchvision calls them."""

from __future__ import annotations

from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.blocks import build_layers
from fbnetv5.heads.lite_rcnn.cost import roi_layers, rpn_layers

POOLED_SIZE = 6
_DELTAS = 4  # of a box: centre x, centre y, width, height


class LiteRPNHead(nn.Module):
    """Three inverted residuals with squeeze-excitation, then one 1x1 convolution to objectness and box deltas.

    Args:
        in_channels: channels of the feature.
        num_anchors: anchors at each position.
    """

    hidden_channels = 96

    def __init__(self, in_channels: int, num_anchors: int) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.layers = build_layers(rpn_layers(in_channels, channels=self.hidden_channels))
        self.predict = nn.Conv2d(self.hidden_channels, num_anchors * (1 + _DELTAS), 1)
        efficientnet_init_weights(self)
        nn.init.normal_(self.predict.weight, std=0.01)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map one feature [n, C, h, w] to logits [n, A, h, w] and deltas [n, 4 A, h, w], each in a list of one."""
        (feature,) = features
        output = self.predict(self.layers(feature)).float()  # half precision is too coarse for boxes
        objectness, deltas = output.split([self.num_anchors, self.num_anchors * _DELTAS], dim=1)
        return [objectness], [deltas]


class LiteBoxHead(nn.Module):
    """Four inverted residuals and the average over what they leave of the pooled feature."""

    expansions = (4, 6, 6, 6)
    channels = (128, 128, 128, 160)

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layers = build_layers(roi_layers(in_channels, channels=self.channels, expansions=self.expansions))
        efficientnet_init_weights(self)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map [R, C, 6, 6] to [R, 160]."""
        hidden: Tensor = self.layers(pooled).mean(dim=(2, 3))
        return hidden


class LiteBoxPredictor(nn.Module):
    """Class scores with the background last, and box deltas for each class, as in Detectron2."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.scores = nn.Linear(in_channels, num_classes + 1)
        self.deltas = nn.Linear(in_channels, num_classes * _DELTAS)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.scores.bias)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Map [R, C] to logits [R, K + 1] and deltas [R, 4 (K + 1)] in torchvision's order.

        There the background comes first, and it has deltas too, which nobody reads; they are zeros.
        """
        scores = self.scores(hidden).float()
        return scores.roll(1, dims=1), F.pad(self.deltas(hidden).float(), (_DELTAS, 0))
