"""Lite R-CNN: a light Faster R-CNN head on path 1 (FBNetV5, Appendix G.2).

The paper's paragraphs on the two parts have their names swapped, and its costs fit three inverted residuals in the
region proposal network, not one. The rest is torchvision's Faster R-CNN, with Detectron2's defaults. What has weights
is laid out as in Detectron2, which can therefore hold them: anchors by size, then ratio; the background's score last;
deltas for the classes alone; RoIAlign with half a pixel's shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import RoIAlign

from fbnetv5.archs.blocks import build_layers
from fbnetv5.archs.families import STRIDES
from fbnetv5.archs.head_cost import roi_layers, rpn_layers
from fbnetv5.heads.anchors import ExactAnchors
from fbnetv5.heads.sizes import Size, unpadded_sizes
from fbnetv5.tasks.task import Features, TargetDict

_DELTAS = 4  # of a box: centre x, centre y, width, height
_POOLED_SIZE = 6
_SAMPLES_PER_BIN = 2  # in each direction; fixed, so that the cost does not depend on the boxes


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


class PathRoIAlign(RoIAlign):
    """RoIAlign on one path's feature, in the form that torchvision's ``RoIHeads`` calls."""

    def __init__(self, stride: int) -> None:
        super().__init__(_POOLED_SIZE, 1 / stride, _SAMPLES_PER_BIN, aligned=True)

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], image_sizes: list[Size]) -> Tensor:
        """Pool one feature [n, C, h, w] under n lists of boxes [m, 4] (xyxy pixels) to [sum of m, C, 6, 6]."""
        (feature,) = features.values()
        pooled: Tensor = super().forward(feature, boxes)
        return pooled


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


class LiteRCNN(nn.Module):
    """Detection: proposals from path 1, and a class and a better box for each of them.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of objects, K.
        path: the path read.
        anchor_sizes: square roots of the anchors' areas, in pixels.
        aspect_ratios: height / width of the anchors; every size has every ratio.
        num_candidates: anchors an image that suppression starts from, in training and in evaluation.
        num_proposals: what suppression leaves of them at most.
        num_sampled: proposals an image that the box head learns from, a quarter of them objects at most.
        num_sampled_anchors: anchors an image that the proposals are learnt from, half of them objects at most.
        score_threshold: detections below it are dropped.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 1,
        anchor_sizes: tuple[int, ...] = (32, 64, 96, 128, 160),
        aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        num_candidates: tuple[int, int] = (12000, 6000),
        num_proposals: tuple[int, int] = (2000, 30),
        num_sampled: int = 512,
        num_sampled_anchors: int = 256,
        score_threshold: float = 0.05,
    ) -> None:
        super().__init__()
        self.path = path
        anchors = ExactAnchors(anchor_sizes, aspect_ratios, STRIDES[path])
        self.rpn = RegionProposalNetwork(
            anchors,
            LiteRPNHead(channels[path], anchors.num_anchors),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=num_sampled_anchors,
            positive_fraction=0.5,
            pre_nms_top_n=dict(zip(("training", "testing"), num_candidates, strict=True)),
            post_nms_top_n=dict(zip(("training", "testing"), num_proposals, strict=True)),
            nms_thresh=0.7,
        )
        self.roi = RoIHeads(
            PathRoIAlign(STRIDES[path]),
            LiteBoxHead(channels[path]),
            LiteBoxPredictor(LiteBoxHead.channels[-1], num_classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=num_sampled,
            positive_fraction=0.25,
            bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
            score_thresh=score_threshold,
            nms_thresh=0.5,
            detections_per_img=100,
        )

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Return four losses (training), or a dict an image (evaluation).

        Anchors and proposals are sampled from torch's global generator, so the caller seeds it.

        Args:
            features: ``features[path]`` is [n, channels[path], h, w].
            image_size: the images' common (height, width) in pixels.
            targets: n dicts with ``boxes`` [m, 4] (xyxy pixels) and ``box_labels`` int64 [m] (0..K-1).
            true_sizes: what the images measured before they were padded; boxes are clipped to it.

        Returns:
            the losses, by name; or for each image ``boxes`` [m, 4] (xyxy pixels), ``box_labels`` int64 [m] and
            ``scores`` [m] (0..1), the best first.

        Raises:
            ValueError: the true sizes do not fit the images, or targets are missing in training.
        """
        feature = features[self.path]
        # Of the images only the sizes are read.
        images = ImageList(feature, unpadded_sizes(true_sizes, image_size, len(feature)))
        truth = [_as_in_torchvision(target) for target in targets] if self.training and targets is not None else None
        proposals, rpn_losses = self.rpn(images, {"0": feature}, truth)
        detections, roi_losses = self.roi({"0": feature}, proposals, images.image_sizes, truth)
        if self.training:
            return {**rpn_losses, **roi_losses}
        return [{"boxes": d["boxes"], "box_labels": d["labels"] - 1, "scores": d["scores"]} for d in detections]


def _as_in_torchvision(target: TargetDict) -> dict[str, Tensor]:
    """Our target in torchvision's terms: class 0 is the background."""
    return {"boxes": target["boxes"].to(torch.float32), "labels": target["box_labels"] + 1}
