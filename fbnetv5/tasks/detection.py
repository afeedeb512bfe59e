"""Object detection: boxes with classes, by a small Faster R-CNN (FBNetV5, Appendix F.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.boxes import clip_boxes_to_image

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.types import BOXES, Features, Size, Target, TargetDict
from fbnetv5.heads.anchors import NominalStrideAnchors
from fbnetv5.heads.batched_rcnn import BatchedProposals, BatchedRoIHeads, Chosen, Proposals
from fbnetv5.heads.box_matching import Truth, encoded, padded_truth
from fbnetv5.heads.pooling import PathRoIAlign


@dataclass(frozen=True)
class Detection:
    """Detection with a region proposal network and a two-layer box head.

    Attributes:
        path: the path read: by default that of the final head, Lite R-CNN; the paper searches on path 2.
        anchor_sizes: square roots of the anchors' areas, in pixels.
        aspect_ratios: height / width of the anchors; every size has every ratio.
        hidden_channels: width of the box head.
        roi_size: pooled features are roi_size x roi_size.
        num_proposals: kept for the box head after suppression.
        num_sampled: proposals an image that the box head learns from.
        num_sampled_anchors: anchors an image that the proposals are learnt from.
    """

    path: int = 1
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
        self.rpn = BatchedProposals(
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
        self.roi = BatchedRoIHeads(
            PathRoIAlign(STRIDES[task.path], task.roi_size, aligned=False),
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
        sizes = [image_size] * len(feature)
        truth = self._truth(targets, feature.dtype)
        proposals, rpn_losses = self.rpn.learn(feature, sizes, truth)
        roi_losses = self.roi.learn(feature, proposals, sizes, truth)
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
        truth, sizes = self._truth(targets, feature.dtype), [image_size] * len(feature)
        true_boxes = [target["boxes"].to(feature.dtype) for target in targets]
        boxes = torch.stack([common_proposals(one, image_size, self.task.num_sampled) for one in true_boxes])
        losses = {**self.rpn.losses(feature, sizes, truth), **self._box_losses(feature, sizes, boxes, truth)}
        return torch.stack(list(losses.values())).sum()

    def _box_losses(self, feature: Tensor, sizes: list[Size], boxes: Tensor, truth: Truth) -> dict[str, Tensor]:
        """Return the box head's losses on boxes [n, m, 4], all of them."""
        every = Proposals(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device))
        labels, true_boxes = self.roi.label(every, truth)
        wanted = encoded(true_boxes, boxes, self.roi.box_coder.weights).flatten(0, 1)
        return self.roi.losses(feature, Chosen(list(boxes), labels.flatten(), wanted), sizes)

    def _truth(self, targets: list[TargetDict], dtype: torch.dtype) -> Truth:
        """Our targets in torchvision's terms: class 0 is the background."""
        return padded_truth(
            [{"boxes": target["boxes"].to(dtype), "labels": target["box_labels"] + 1} for target in targets]
        )


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
    num_near = min(count // 2, 4 * len(boxes))
    near = boxes[torch.arange(num_near, device=boxes.device) % max(1, len(boxes))]
    sides = near[:, 2:] - near[:, :2]
    noise = torch.randn(num_near, 4).to(boxes.device, boxes.dtype, non_blocking=True)
    centres = near[:, :2] + sides / 2 + 0.1 * sides * noise[:, :2]
    sides = sides * (0.2 * noise[:, 2:]).exp()
    size = torch.tensor([image_size[1], image_size[0]], dtype=boxes.dtype)
    far = torch.rand(count - num_near, 4).to(boxes.dtype)
    anywhere = torch.cat([far[:, :2] * size, (0.05 + 0.95 * far[:, 2:].square()) * size], dim=1)
    far_centres, far_sides = anywhere.to(boxes.device, non_blocking=True).split(2, dim=1)
    centres, sides = torch.cat([centres, far_centres]), torch.cat([sides, far_sides])
    return clip_boxes_to_image(torch.cat([centres - sides / 2, centres + sides / 2], dim=1), image_size)
