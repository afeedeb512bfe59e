"""Lite R-CNN: a light Faster R-CNN head on path 1 (FBNetV5, Appendix G.2).

The paper's paragraphs on the two parts have their names swapped, and its costs fit three inverted residuals in the
region proposal network, not one. The rest is torchvision's Faster R-CNN, with Detectron2's losses and defaults, and
the numbers of proposals that D2Go has for FBNetV3. What has weights is laid out as in Detectron2, which can therefore
hold them: anchors by size, then ratio; the background's score last; deltas for the classes alone; RoIAlign with half a
pixel's shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.boxes import clip_boxes_to_image

from fbnetv5.archs.families import STRIDES
from fbnetv5.archs.head_cost import roi_macs, rpn_macs
from fbnetv5.data.multitask import BOXES, Target
from fbnetv5.heads.anchors import ExactAnchors
from fbnetv5.heads.deployed_rcnn import DeployedRCNN
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.rcnn_layers import LiteBoxHead, LiteBoxPredictor, LiteRPNHead, PathRoIAlign
from fbnetv5.heads.rcnn_losses import L1RegionProposals, L1RoIHeads
from fbnetv5.heads.sizes import Size, stored_sizes, unpadded_sizes
from fbnetv5.tasks.task import Features, TargetDict


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

    target: Target = BOXES

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 1,
        anchor_sizes: tuple[int, ...] = (32, 64, 96, 128, 160),
        aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        num_candidates: tuple[int, int] = (2000, 1000),
        num_proposals: tuple[int, int] = (2000, 30),
        num_sampled: int = 512,
        num_sampled_anchors: int = 256,
        score_threshold: float = 0.05,
    ) -> None:
        super().__init__()
        self.paths = ascending_paths(path)
        self.in_channels, self.num_classes, self.num_proposals = channels[path], num_classes, num_proposals[1]
        anchors = ExactAnchors(anchor_sizes, aspect_ratios, STRIDES[path])
        self.rpn = L1RegionProposals(
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
        self.roi = L1RoIHeads(
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
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Return four losses (training), or a dict an image (evaluation).

        Anchors and proposals are sampled from torch's global generator, so the caller seeds it.

        Args:
            features: ``features[path]`` is [n, channels[path], h, w].
            image_size: the images' common (height, width) in pixels.
            targets: n dicts with ``boxes`` [m, 4] (xyxy pixels) and ``box_labels`` int64 [m] (0..K-1).
            true_sizes: what the images measured before they were padded; boxes are clipped to it.
            output_sizes: what the stored images measure, in whose pixels boxes are; by default the true sizes.

        Returns:
            the losses, by name; or for each image ``boxes`` [m, 4] (xyxy pixels), ``box_labels`` int64 [m] and
            ``scores`` [m] (0..1), the best first.

        Raises:
            ValueError: the sizes do not fit the images, or targets are missing in training.
        """
        (path,) = self.paths
        feature = features[path]
        # Of the images only the sizes are read.
        images = ImageList(feature, unpadded_sizes(true_sizes, image_size, len(feature)))
        truth = [_as_in_torchvision(target) for target in targets] if self.training and targets is not None else None
        proposals, rpn_losses = self.rpn(images, {"0": feature}, truth)
        detections, roi_losses = self.roi({"0": feature}, proposals, images.image_sizes, truth)
        if self.training:
            return {**rpn_losses, **roi_losses}
        sizes = zip(images.image_sizes, stored_sizes(output_sizes, images.image_sizes), strict=True)
        return [
            {"boxes": _resized(d["boxes"], *size), "box_labels": d["labels"] - 1, "scores": d["scores"]}
            for d, size in zip(detections, sizes, strict=True)
        ]

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what detects in one image on a device; see :class:`fbnetv5.heads.deployed.DeployableHead`."""
        (path,) = self.paths
        return DeployedRCNN(self, image_size, feature_sizes[path])

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image of as many proposals as there may be, for features of ``sizes[path]``."""
        (path,) = self.paths
        proposals = rpn_macs(self.in_channels, sizes[path], num_anchors=self.rpn.head.num_anchors)
        refinement = roi_macs(self.in_channels, num_proposals=self.num_proposals, num_classes=self.num_classes)
        return proposals + refinement


def _resized(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """Scale boxes [m, 4] (xyxy pixels) of an image of ``size`` (height, width) to ``new_size``, and clip them to it."""
    factors = [new_size[1] / size[1], new_size[0] / size[0]]
    resized: Tensor = clip_boxes_to_image(boxes * boxes.new_tensor(factors * 2), new_size)
    return resized


def _as_in_torchvision(target: TargetDict) -> dict[str, Tensor]:
    """Our target in torchvision's terms: class 0 is the background."""
    return {"boxes": target["boxes"].float(), "labels": target["box_labels"] + 1}
