"""Object detection: boxes with classes, by a small Faster R-CNN on path 2 (FBNetV5, Appendix F.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.types import BOXES, Features, Size, Target, TargetDict
from fbnetv5.heads.anchors import NominalStrideAnchors


@dataclass(frozen=True)
class Detection:
    """Detection with a region proposal network and a two-layer box head.

    Attributes:
        path: the path read.
        anchor_sizes: square roots of the anchors' areas, in pixels.
        aspect_ratios: height / width of the anchors; every size has every ratio.
        hidden_channels: width of the box head.
        roi_size: pooled features are roi_size x roi_size.
        num_proposals: kept for the box head after suppression.
        num_sampled: proposals an image that the box head learns from.
        num_sampled_anchors: anchors an image that the proposals are learnt from.
    """

    path: int = 2
    anchor_sizes: tuple[int, ...] = (32, 64, 96, 128, 160)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    hidden_channels: int = 256
    roi_size: int = 6
    num_proposals: int = 100
    num_sampled: int = 64
    num_sampled_anchors: int = 64
    target: Target = BOXES

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        """Build the head for ``channels[path]`` input channels and the given classes."""
        return DetectionSearchHead(self, channels[self.path], len(classes))


class DetectionSearchHead(nn.Module):
    """Faster R-CNN without a backbone, from torchvision's parts, on a normalised feature (as in segmentation)."""

    def __init__(self, task: Detection, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.task = task
        anchors = NominalStrideAnchors(task.anchor_sizes, task.aspect_ratios, STRIDES[task.path])
        self.norm = nn.BatchNorm2d(in_channels)
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(in_channels, anchors.num_anchors),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=task.num_sampled_anchors,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 4 * task.num_proposals, "testing": 4 * task.num_proposals},
            post_nms_top_n={"training": task.num_proposals, "testing": task.num_proposals},
            nms_thresh=0.7,
        )
        self.roi = RoIHeads(
            MultiScaleRoIAlign(["0"], output_size=task.roi_size, sampling_ratio=2),
            TwoMLPHead(in_channels * task.roi_size**2, task.hidden_channels),
            FastRCNNPredictor(task.hidden_channels, num_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=task.num_sampled,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=100,
        )

    def forward(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return the sum of the four losses, for features [n, C, h, w]; the head is in training mode."""
        feature = self.norm(features[self.task.path])  # [n, C, h, w]
        images = ImageList(feature.new_empty(len(feature), 3, *image_size), [image_size] * len(feature))
        truth = [self._truth(target, feature.dtype) for target in targets]
        proposals, rpn_losses = self.rpn(images, {"0": feature}, truth)
        _, roi_losses = self.roi({"0": feature}, proposals, images.image_sizes, truth)
        return torch.stack([*rpn_losses.values(), *roi_losses.values()]).sum()

    def _truth(self, target: TargetDict, dtype: torch.dtype) -> dict[str, Tensor]:
        """Our target in torchvision's terms: class 0 is the background."""
        return {"boxes": target["boxes"].to(dtype), "labels": target["box_labels"] + 1}
