"""Networks of timm and torchvision as models that can be exported: one image of a fixed size to named tensors.

torchvision's detectors have data-dependent sizes. Theirs are built here from the same modules, with the suppression
and pooling of ``fbnetv5.heads.fixed_boxes``. What they find is what torchvision finds, as long as no class has more
than ``NUM_CANDIDATES`` boxes above the score threshold: so many go into a class's suppression, as many as Lite R-CNN
has proposals, so that all detectors have the same work there.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops.boxes import clip_boxes_to_image

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.types import Size
from fbnetv5.export.deployed import DeployedModel
from fbnetv5.heads.fixed_boxes import aligned_pool, are_large, kept_of_each_class

NUM_CANDIDATES = 30


class PeerModel(DeployedModel):
    """A network of others and what becomes of its outputs."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Predict for one image [1, 3, H, W], all of which counts."""
        outputs: dict[str, Tensor] = self.head(self.network(image))
        return outputs


def classifier(name: str, num_classes: int) -> PeerModel:
    """Return a network of timm, with random weights."""
    return PeerModel(timm.create_model(name, pretrained=False, num_classes=num_classes), Probabilities())


class Probabilities(nn.Module):
    """Logits [1, K] to ``scores`` [K]."""

    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        """Return the probability of each class."""
        return {"scores": logits.softmax(dim=1)[0]}


class LargestLogit(nn.Module):
    """Logits of a segmentation network of torchvision to ``segmentation``."""

    def forward(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the likeliest class of each pixel, uint8 [H, W], from ``out`` [1, K, H, W]."""
        return {"segmentation": outputs["out"][0].argmax(dim=0).to(torch.uint8)}


class FixedSSD(nn.Module):
    """The heads of torchvision's SSD for one image.

    Args:
        model: whose heads they are.
        size: (height, width) of the image.
    """

    def __init__(self, model: SSD, size: Size) -> None:
        super().__init__()
        self.heads, self.size = model.head, size
        self.coder, self.score_threshold, self.overlap = model.box_coder, model.score_thresh, model.nms_thresh
        self.num_detections = model.detections_per_img
        with torch.no_grad():
            features = list(model.backbone.eval()(torch.zeros(1, 3, *size)).values())
        (anchors,) = model.anchor_generator(ImageList(torch.zeros(1, 3, *size), [size]), features)
        self.register_buffer("anchors", anchors, persistent=False)
        self.anchors: Tensor

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``boxes``, ``box_labels``, ``scores`` and ``count`` as ``DeployableHead`` has them."""
        outputs = self.heads(list(features.values()))
        scores = outputs["cls_logits"][0].softmax(dim=1)[:, 1:].T  # [K, anchors]; the background is first
        boxes = clip_boxes_to_image(self.coder.decode_single(outputs["bbox_regression"][0], self.anchors), self.size)
        scores, best = scores.topk(min(NUM_CANDIDATES, len(boxes)), dim=1)
        candidates = boxes.index_select(0, best.flatten()).unflatten(0, best.shape)
        valid = (scores > self.score_threshold).to(scores.dtype)
        return best_boxes(candidates, scores, valid, self.overlap, self.num_detections)


class FixedFasterRCNN(nn.Module):
    """The heads of torchvision's Faster R-CNN for one image.

    Its proposals are pooled from the first feature: of the mobile one, all do, as both that are pooled from have
    stride 32.

    Args:
        model: whose heads they are.
        size: (height, width) of the image.
    """

    def __init__(self, model: FasterRCNN, size: Size) -> None:
        super().__init__()
        self.rpn_head, self.rpn_coder, self.rpn_overlap = model.rpn.head, model.rpn.box_coder, model.rpn.nms_thresh
        self.min_size, self.num_proposals = model.rpn.min_size, model.rpn._post_nms_top_n["testing"]
        self.rpn_score, self.num_per_level = model.rpn.score_thresh, model.rpn._pre_nms_top_n["testing"]
        self.box_head, self.predictor, self.coder = (
            model.roi_heads.box_head,
            model.roi_heads.box_predictor,
            model.roi_heads.box_coder,
        )
        self.score_threshold, self.overlap = model.roi_heads.score_thresh, model.roi_heads.nms_thresh
        self.num_detections, self.size = model.roi_heads.detections_per_img, size
        with torch.no_grad():
            features = list(model.backbone.eval()(torch.zeros(1, 3, *size)).values())
            (anchors,) = model.rpn.anchor_generator(ImageList(torch.zeros(1, 3, *size), [size]), features)
        self.stride = size[0] // features[0].shape[2]
        self.register_buffer("anchors", anchors, persistent=False)
        self.anchors: Tensor

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``boxes``, ``box_labels``, ``scores`` and ``count`` as ``DeployableHead`` has them."""
        levels = list(features.values())
        proposals, counts = self._propose(levels)
        pooled = self._pooled(levels[0][0], proposals)
        logits, deltas = self.predictor(self.box_head(pooled))
        scores = logits.softmax(dim=1)[:, 1:].T * counts  # [K, R]; the background is first
        boxes = self.coder.decode_single(deltas, proposals).unflatten(1, (-1, 4))[:, 1:]  # [R, K, 4]
        boxes = clip_boxes_to_image(boxes, self.size).transpose(0, 1)
        scores, best = scores.topk(min(NUM_CANDIDATES, self.num_proposals), dim=1)
        candidates = boxes.gather(1, best[:, :, None].expand(-1, -1, 4))
        valid = (scores > self.score_threshold).to(scores.dtype) * are_large(candidates, 1e-2)
        return best_boxes(candidates, scores, valid, self.overlap, self.num_detections)

    def _propose(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the proposals [R, 4] (xyxy pixels), and which of them count, 0 or 1 [R]."""
        found_boxes, found_scores = [], []
        start = 0
        for objectness, deltas in zip(*self.rpn_head(levels), strict=True):
            num_anchors = objectness.shape[1]
            logits = objectness[0].permute(1, 2, 0).flatten()
            by_anchor = deltas[0].unflatten(0, (num_anchors, 4)).permute(2, 3, 0, 1).flatten(0, 2)
            best_logits, best = logits.topk(min(self.num_per_level, len(logits)))
            anchors = self.anchors[start : start + len(logits)].index_select(0, best)
            boxes = self.rpn_coder.decode_single(by_anchor.index_select(0, best), anchors)
            missing = self.num_per_level - len(best)
            found_boxes.append(F.pad(clip_boxes_to_image(boxes, self.size), (0, 0, 0, missing)))
            found_scores.append(F.pad(best_logits.sigmoid(), (0, missing)))
            start += len(logits)
        boxes, scores = torch.stack(found_boxes), torch.stack(found_scores)  # [levels, n, 4], [levels, n]
        valid = (scores >= self.rpn_score).to(scores.dtype) * are_large(boxes, self.min_size)
        kept = kept_of_each_class(boxes, valid, threshold=self.rpn_overlap)
        best_scores, best = ((scores + 1) * kept).flatten().topk(self.num_proposals)  # a score may be 0
        return boxes.flatten(0, 1).index_select(0, best), best_scores.clamp(max=1)

    def _pooled(self, feature: Tensor, proposals: Tensor) -> Tensor:
        """Return RoIAlign [R, C, 7, 7] of a feature [C, h, w] as torchvision has it: not aligned, at least a cell."""
        starts = proposals[:, :2]
        ends = torch.maximum(proposals[:, 2:], starts + self.stride)
        shifted = torch.cat([starts, ends], dim=1) + self.stride / 2
        return aligned_pool(feature, shifted, stride=self.stride, size=7, samples=2)


def best_boxes(boxes: Tensor, scores: Tensor, valid: Tensor, overlap: float, count: int) -> dict[str, Tensor]:
    """Return the best detections among boxes [K, n, 4] with scores [K, n], the best first, those valid [K, n]."""
    num_boxes = scores.shape[1]
    scores = scores * kept_of_each_class(boxes, valid, threshold=overlap)
    best_scores, best = scores.flatten().topk(min(count, scores.numel()))
    is_there = best_scores > 0
    return {
        "boxes": boxes.flatten(0, 1).index_select(0, best) * is_there[:, None],
        "box_labels": torch.div(best, num_boxes, rounding_mode="floor") * is_there,
        "scores": best_scores,
        "count": is_there.sum(dim=0, keepdim=True),
    }


def faster_rcnn_macs(model: FasterRCNN, size: Size) -> int:
    """Return the MACs of all layers; the products that RoIAlign is made of are not counted, as in ``archs.cost``."""
    image = torch.zeros(1, 3, *size)
    with torch.no_grad():
        features = list(model.backbone.eval()(image).values())
    proposals = torch.zeros(model.rpn._post_nms_top_n["testing"], features[0].shape[1], 7, 7)
    boxes = nn.Sequential(model.roi_heads.box_head, model.roi_heads.box_predictor)
    rpn = sum(measured_macs(_OneLevel(model.rpn.head), feature) for feature in features)
    return measured_macs(model.backbone, image) + rpn + measured_macs(boxes, proposals)


class _OneLevel(nn.Module):
    """A head that takes a list of features, for one."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, feature: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        outputs: tuple[list[Tensor], list[Tensor]] = self.head([feature])
        return outputs
