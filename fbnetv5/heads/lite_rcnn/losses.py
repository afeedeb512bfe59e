"""torchvision's region proposals and box refinement with Detectron2's losses.

Boxes are learnt with the plain L1 distance (torchvision has smooth L1 with beta 1/9), and the proposals' losses are
sums divided by the number of anchors that are asked for (torchvision: that are sampled). Thresholds, sampling, box
coding and suppression are the same in both libraries, but for torchvision's leaving out boxes below a thousandth
(proposals) and a hundredth (detections) of a pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

from fbnetv5.base.types import Size


class L1RegionProposals(RegionProposalNetwork):
    """torchvision's region proposal network, with Detectron2's losses."""

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of objectness and boxes, from a sample of the A anchors of each of n images.

        Args:
            objectness: logits [n * A, 1].
            pred_bbox_deltas: [n * A, 4].
            labels: n times [A]: 1 object, 0 background, -1 neither.
            regression_targets: n times [A, 4], which count where the label is 1.
        """
        objects, background = (torch.cat(masks) > 0 for masks in self.fg_bg_sampler(labels))
        sampled = objects | background
        scores = F.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], torch.cat(labels)[sampled], reduction="sum"
        )
        boxes = F.l1_loss(pred_bbox_deltas[objects], torch.cat(regression_targets)[objects], reduction="sum")
        num_asked = self.fg_bg_sampler.batch_size_per_image * len(labels)
        return scores / num_asked, boxes / num_asked


class L1RoIHeads(RoIHeads):
    """torchvision's box head, with Detectron2's losses."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[Size],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections and no losses (evaluation), or no detections and two losses (training).

        Args:
            features: by name, [n, C, h, w].
            proposals: n times [m, 4] (xyxy pixels).
            image_shapes: n times (height, width) in pixels.
            targets: n dicts with ``boxes`` [m, 4] and ``labels`` int64 [m], 0 the background; training needs them.
        """
        if not self.training:
            detections: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes
            )
            return detections
        proposals, _, labels, regression_targets = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(pooled))  # [R, K + 1] and [R, 4 (K + 1)]
        classes = torch.cat(labels)
        objects = torch.where(classes > 0)[0]
        deltas = deltas.unflatten(1, (-1, 4))[objects, classes[objects]]
        boxes = F.l1_loss(deltas, torch.cat(regression_targets)[objects], reduction="sum")
        num_sampled = max(len(classes), 1)
        scores = F.cross_entropy(logits, classes, reduction="sum")
        return [], {"loss_classifier": scores / num_sampled, "loss_box_reg": boxes / num_sampled}
