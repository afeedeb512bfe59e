"""Lite R-CNN: a light Faster R-CNN head on path 1 (FBNetV5, Appendix G.2).

The paper's paragraphs on the two parts have their names swapped, and its costs fit three inverted residuals in the
region proposal network, not one. The rest is torchvision's Faster R-CNN, with Detectron2's losses and defaults, and
the numbers of proposals that D2Go has for FBNetV3. What has weights is laid out as in Detectron2, which can therefore
hold them: anchors by size, then ratio; the background's score last; deltas for the classes alone; RoIAlign with half a
pixel's shift.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.anchors import ExactAnchors
from fbnetv5.heads.box_matching import padded_truth
from fbnetv5.heads.detection_head import DetectionHead
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.lite_rcnn.cost import roi_macs, rpn_macs
from fbnetv5.heads.lite_rcnn.deployed import DeployedRCNN
from fbnetv5.heads.lite_rcnn.layers import POOLED_SIZE, LiteBoxHead, LiteBoxPredictor, LiteRPNHead
from fbnetv5.heads.lite_rcnn.losses import L1RegionProposals, L1RoIHeads
from fbnetv5.heads.pooling import PathRoIAlign


class LiteRCNN(DetectionHead):
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

    needs_usual_strides = True

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
            PathRoIAlign(STRIDES[path], POOLED_SIZE, aligned=True),
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

    def losses(
        self, features: Features, image_size: Size, sizes: list[Size], truth: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return four losses. Anchors and proposals are sampled from torch's global generator: the caller seeds it."""
        (path,) = self.paths
        true_boxes = padded_truth(truth)
        proposals, rpn_losses = self.rpn.learn(features[path], sizes, true_boxes)
        return {**rpn_losses, **self.roi.learn(features[path], proposals, sizes, true_boxes)}

    def detections(self, features: Features, image_size: Size, sizes: list[Size]) -> list[dict[str, Tensor]]:
        (path,) = self.paths
        feature = {"0": features[path]}
        proposals, _ = self.rpn(ImageList(features[path], sizes), feature)  # of the images only the sizes are read
        found: list[dict[str, Tensor]] = self.roi(feature, proposals, sizes)[0]
        return found

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what detects in one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`."""
        (path,) = self.paths
        return DeployedRCNN(
            self.rpn,
            self.roi,
            path=path,
            num_classes=self.num_classes,
            num_proposals=self.num_proposals,
            image_size=image_size,
            feature_size=feature_sizes[path],
        )

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image of as many proposals as there may be, for features of ``sizes[path]``."""
        (path,) = self.paths
        proposals = rpn_macs(self.in_channels, sizes[path], num_anchors=self.rpn.head.num_anchors)
        refinement = roi_macs(self.in_channels, num_proposals=self.num_proposals, num_classes=self.num_classes)
        return proposals + refinement
