"""Object detection: boxes with classes, by a small Faster R-CNN on path 2 (FBNetV5, Appendix F.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.boxes import clip_boxes_to_image

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

    def score(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return the sum of the four losses of a detector whose proposals do not come from the features.

        Better features give more proposals that lie on objects, and these raise the box head's losses: over
        architectures the loss rises with the recall of proposals. So the box head is judged on the same boxes for all
        architectures: the truth, moved about, and random ones.
        """
        norm = self.norm  # with the batch's statistics; the running ones stay
        feature = F.batch_norm(
            features[self.task.path], None, None, norm.weight, norm.bias, training=True, eps=norm.eps
        )
        truth = [self._truth(target, feature.dtype) for target in targets]
        boxes = [common_proposals(one["boxes"], image_size, self.task.num_sampled) for one in truth]
        return self._rpn_loss(feature, image_size, truth) + self._box_loss(feature, image_size, boxes, truth)

    def _rpn_loss(self, feature: Tensor, image_size: Size, truth: list[dict[str, Tensor]]) -> Tensor:
        objectness, deltas = self.rpn.head([feature])
        images = ImageList(feature.new_empty(len(feature), 3, *image_size), [image_size] * len(feature))
        anchors = self.rpn.anchor_generator(images, [feature])
        labels, matched = self.rpn.assign_targets_to_anchors(anchors, truth)
        wanted = self.rpn.box_coder.encode(matched, anchors)
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        return torch.stack(self.rpn.compute_loss(objectness, deltas, labels, wanted)).sum()

    def _box_loss(
        self, feature: Tensor, image_size: Size, boxes: list[Tensor], truth: list[dict[str, Tensor]]
    ) -> Tensor:
        true_boxes, true_labels = [one["boxes"] for one in truth], [one["labels"] for one in truth]
        matched, labels = self.roi.assign_targets_to_proposals(boxes, true_boxes, true_labels)
        found = [true if len(true) else true.new_zeros(1, 4) for true in true_boxes]
        wanted = self.roi.box_coder.encode([true[rows] for true, rows in zip(found, matched, strict=True)], boxes)
        pooled = self.roi.box_roi_pool({"0": feature}, boxes, [image_size] * len(boxes))
        logits, deltas = self.roi.box_predictor(self.roi.box_head(pooled))
        return torch.stack(fastrcnn_loss(logits, deltas, labels, wanted)).sum()

    def _truth(self, target: TargetDict, dtype: torch.dtype) -> dict[str, Tensor]:
        """Our target in torchvision's terms: class 0 is the background."""
        return {"boxes": target["boxes"].to(dtype), "labels": target["box_labels"] + 1}


def common_proposals(boxes: Tensor, image_size: Size, count: int) -> Tensor:
    """Return ``count`` boxes [count, 4] (xyxy pixels): up to half around the true ones, the rest anywhere.

    They depend on the truth and torch's global generator alone. A box around a true one has its centre moved by a
    deviation of a tenth of its size, and its sides scaled by factors whose logarithm deviates by 0.2; one that is
    anywhere has sides of a twentieth to all of the image's.

    Args:
        boxes: the true ones, [m, 4]; there may be none.
        image_size: (height, width) in pixels, to which all are clipped.
        count: how many.
    """
    size = boxes.new_tensor([image_size[1], image_size[0]])
    num_near = min(count // 2, 4 * len(boxes))
    near = boxes[torch.arange(num_near) % max(1, len(boxes))]
    sides = near[:, 2:] - near[:, :2]
    noise = torch.randn(num_near, 4).to(boxes)
    centres = near[:, :2] + sides / 2 + 0.1 * sides * noise[:, :2]
    sides = sides * (0.2 * noise[:, 2:]).exp()
    far = torch.rand(count - num_near, 4).to(boxes)
    centres = torch.cat([centres, far[:, :2] * size])
    sides = torch.cat([sides, (0.05 + 0.95 * far[:, 2:].square()) * size])
    return clip_boxes_to_image(torch.cat([centres - sides / 2, centres + sides / 2], dim=1), image_size)
