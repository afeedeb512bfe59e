"""Lite R-CNN as it runs on a device: one image of a fixed size, all of it in tensor operations of fixed size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from fbnetv5.base.types import Features, Size
from fbnetv5.heads.fixed_boxes import aligned_pool, are_large, clipped, first_kept, kept_of_each_class
from fbnetv5.heads.lite_rcnn.losses import L1RegionProposals, L1RoIHeads


class DeployedRCNN(nn.Module):
    """Lite R-CNN's inference for one image.

    Proposals and detections have a fixed number of places; those that are not used are zeros, at the end. Detections
    are those of the head up to rounding.

    Args:
        rpn, roi: of the head, in evaluation mode; they are shared.
        path: the path read.
        num_classes: K.
        num_proposals: that there may be.
        image_size: (height, width) in pixels.
        feature_size: (height, width) of the path.
    """

    def __init__(
        self,
        rpn: L1RegionProposals,
        roi: L1RoIHeads,
        *,
        path: int,
        num_classes: int,
        num_proposals: int,
        image_size: Size,
        feature_size: Size,
    ) -> None:
        super().__init__()
        self.path = path
        self.rpn, self.roi = rpn, roi
        feature = torch.zeros(1, 1, *feature_size)
        (anchors,) = rpn.anchor_generator(ImageList(feature, [image_size]), [feature])
        self.register_buffer("anchors", anchors, persistent=False)
        self.anchors: Tensor
        self.num_candidates = min(rpn._pre_nms_top_n["testing"], len(anchors))
        self.num_proposals = min(num_proposals, self.num_candidates)
        self.thresholds = {
            "score": float(roi.score_thresh),
            "overlap_of_detections": float(roi.nms_thresh),
            "overlap_of_proposals": float(rpn.nms_thresh),
        }
        self.num_detections = min(roi.detections_per_img, self.num_proposals * num_classes)

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Detect objects.

        Args:
            features: of one image, ``features[path]`` [1, C, h, w].
            covered: (height, width) of the input that the image covers, float [2]; boxes are clipped to it.

        Returns:
            ``boxes`` [D, 4] (xyxy pixels of the input), ``box_labels`` int64 [D], ``scores`` [D], the best first, and
            ``count`` int64 [1], how many of them there are.
        """
        bounds = covered.flip(0).repeat(2)  # [4], of x, y, x, y
        proposals, valid = self._propose(features[self.path], bounds)
        align = self.roi.box_roi_pool
        size, samples, stride = align.output_size, align.sampling_ratio, round(1 / align.spatial_scale)
        pooled = aligned_pool(features[self.path][0], proposals, stride=stride, size=size, samples=samples)
        hidden, predictor = self.roi.box_head(pooled), self.roi.box_predictor
        scores = predictor.scores(hidden).softmax(dim=1)[:, :-1].T * valid  # [K, R]; the background is last
        boxes = self.roi.box_coder.decode_single(predictor.deltas(hidden), proposals).unflatten(1, (-1, 4))  # [R, K, 4]
        return self._select(clipped(boxes, bounds).transpose(0, 1), scores)

    def _propose(self, feature: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the proposals [R, 4] (xyxy pixels), and which of them count, 0 or 1 [R]."""
        (objectness,), (deltas,) = self.rpn.head([feature])
        num_anchors = objectness.shape[1]
        by_anchor = deltas[0].unflatten(0, (num_anchors, 4)).permute(2, 3, 0, 1).flatten(0, 2)  # [h * w * A, 4]
        _, best = objectness[0].permute(1, 2, 0).flatten().topk(self.num_candidates)
        coder = self.rpn.box_coder
        boxes = coder.decode_single(by_anchor.index_select(0, best), self.anchors.index_select(0, best))
        boxes = clipped(boxes, bounds)
        large = are_large(boxes, self.rpn.min_size)
        return first_kept(boxes, large, threshold=self.rpn.nms_thresh, count=self.num_proposals)

    def _select(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """Return the best detections among boxes [K, R, 4] with their scores [K, R]."""
        num_proposals = scores.shape[1]
        scores, order = scores.topk(num_proposals, dim=1)
        boxes = boxes.gather(1, order[:, :, None].expand(-1, -1, 4))
        valid = (scores > self.roi.score_thresh).to(scores.dtype) * are_large(boxes, 1e-2)
        scores = scores * kept_of_each_class(boxes, valid, threshold=self.roi.nms_thresh)
        best_scores, best = scores.flatten().topk(self.num_detections)
        is_there = best_scores > 0
        return {
            "boxes": boxes.flatten(0, 1).index_select(0, best) * is_there[:, None],
            "box_labels": torch.div(best, num_proposals, rounding_mode="floor") * is_there,
            "scores": best_scores,
            "count": is_there.sum(dim=0, keepdim=True),
        }
