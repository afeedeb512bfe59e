"""Training of torchvision's Faster R-CNN for all images of a batch at once; evaluation is torchvision's own.

Losses, matching and random draws are torchvision's (see ``box_matching``), but a GPU is waited for a few times a batch,
where torchvision waits a dozen times an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

from fbnetv5.base.types import Size
from fbnetv5.heads.box_matching import BETWEEN, Truth, decoded, encoded, match, sample
from fbnetv5.heads.fixed_boxes import are_large, clipped
from fbnetv5.heads.suppression import kept


class Proposals(NamedTuple):
    """Proposals of n images, P places each: ``boxes`` [n, P, 4] (xyxy pixels), and ``valid``, bool [n, P]."""

    boxes: Tensor
    valid: Tensor


class BatchedProposals(RegionProposalNetwork):
    """torchvision's region proposal network, on one feature, with :meth:`learn` in the place of a training forward."""

    beta: ClassVar[float] = 1 / 9  # distance from which a box's error is linear

    def learn(self, feature: Tensor, sizes: Sequence[Size], truth: Truth) -> tuple[Proposals, dict[str, Tensor]]:
        """Return the proposals for a feature [n, C, h, w] of images of ``sizes`` in pixels, and two losses."""
        anchors, objectness, deltas = self._predict(feature, sizes)
        with torch.no_grad():
            proposals = self._propose(anchors, objectness, deltas, sizes)
        return proposals, self._losses(anchors, objectness, deltas, truth)

    def losses(self, feature: Tensor, sizes: Sequence[Size], truth: Truth) -> dict[str, Tensor]:
        """Return the losses alone."""
        return self._losses(*self._predict(feature, sizes), truth)

    def _predict(self, feature: Tensor, sizes: Sequence[Size]) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors [A, 4], their logits [n, A] and deltas [n, A, 4]."""
        objectness, deltas = concat_box_prediction_layers(*self.head([feature]))
        anchors = self.anchor_generator(ImageList(feature, list(sizes)), [feature])[0]
        return anchors, objectness.view(len(feature), -1), deltas.view(len(feature), -1, 4)

    def _propose(self, anchors: Tensor, objectness: Tensor, deltas: Tensor, sizes: Sequence[Size]) -> Proposals:
        logits, best = objectness.topk(min(self.pre_nms_top_n(), len(anchors)), dim=1)
        bases = anchors.index_select(0, best.flatten()).view(*best.shape, 4)
        coder, chosen = self.box_coder, deltas.gather(1, best[:, :, None].expand(-1, -1, 4))
        boxes = decoded(chosen, bases, coder.weights, coder.bbox_xform_clip)
        boxes = clipped(boxes, _bounds(sizes, boxes)[:, None])
        valid = (are_large(boxes, self.min_size) > 0) & (logits.sigmoid() >= self.score_thresh)
        found = kept(boxes, valid, self.nms_thresh)
        order = found.byte().argsort(dim=1, descending=True, stable=True)[:, : self.post_nms_top_n()]
        return Proposals(boxes.gather(1, order[:, :, None].expand(-1, -1, 4)), found.gather(1, order))

    def _losses(self, anchors: Tensor, objectness: Tensor, deltas: Tensor, truth: Truth) -> dict[str, Tensor]:
        matcher = self.proposal_matcher
        bases = anchors.expand(len(objectness), -1, -1)
        places = match(bases, truth, low=matcher.low_threshold, high=matcher.high_threshold, keep_best=True)
        labels = (places >= 0).float().masked_fill(places == BETWEEN, -1.0)
        wanted = encoded(_at(truth.boxes, places), bases, self.box_coder.weights)
        scores, boxes = self.sampled_losses(objectness, deltas, labels, wanted)
        return {"loss_objectness": scores, "loss_rpn_box_reg": boxes}

    def sampled_losses(
        self, objectness: Tensor, deltas: Tensor, labels: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of objectness and boxes, from a sample of the A anchors of each of n images.

        Args:
            objectness: logits [n, A].
            deltas: [n, A, 4].
            labels: [n, A]: 1 object, 0 background, -1 neither.
            wanted: [n, A, 4], which count where the label is 1.
        """
        sampler = self.fg_bg_sampler
        objects, background, counts = sample(labels, sampler.batch_size_per_image, sampler.positive_fraction)
        scores = F.binary_cross_entropy_with_logits(objectness, labels, reduction="none")
        scores = scores.where(objects | background, 0.0).sum()
        divisor = self.divisor(counts)
        return scores / divisor, _box_errors(deltas, wanted, objects, self.beta) / divisor

    def divisor(self, counts: Sequence[int]) -> int:
        """Return what sums over sampled anchors are divided by, from how many of each image are sampled."""
        return sum(counts)


class Chosen(NamedTuple):
    """Proposals that the box head learns from: n times [m, 4] (xyxy); of all R their labels int64 [R], 0 the
    background, and the deltas to their true boxes [R, 4], which count for objects."""

    boxes: list[Tensor]
    labels: Tensor
    wanted: Tensor


class BatchedRoIHeads(RoIHeads):
    """torchvision's box head, with :meth:`learn` in the place of a training forward."""

    beta: ClassVar[float] = 1 / 9

    def learn(self, feature: Tensor, proposals: Proposals, sizes: Sequence[Size], truth: Truth) -> dict[str, Tensor]:
        """Return two losses of a sample of the proposals for a feature [n, C, h, w] of images of ``sizes``."""
        return self.losses(feature, self._choose(proposals, truth), sizes)

    def losses(self, feature: Tensor, chosen: Chosen, sizes: Sequence[Size]) -> dict[str, Tensor]:
        """Return the losses of proposals that are chosen already; sums over them are divided by their number."""
        pooled = self.box_roi_pool({"0": feature}, chosen.boxes, list(sizes))
        logits, deltas = self.box_predictor(self.box_head(pooled))  # [R, K + 1] and [R, 4 (K + 1)]
        labels = chosen.labels
        of_class = labels[:, None, None].expand(-1, 1, 4)
        own = deltas.unflatten(1, (-1, 4)).gather(1, of_class)[:, 0]
        divisor = max(len(labels), 1)
        return {
            "loss_classifier": F.cross_entropy(logits, labels, reduction="sum") / divisor,
            "loss_box_reg": _box_errors(own, chosen.wanted, labels > 0, self.beta) / divisor,
        }

    def label(self, proposals: Proposals, truth: Truth) -> tuple[Tensor, Tensor]:
        """Return the labels of proposals, int64 [n, P], -1 where there is none, and their true boxes [n, P, 4]."""
        matcher = self.proposal_matcher
        places = match(proposals.boxes, truth, low=matcher.low_threshold, high=matcher.high_threshold)
        labels = truth.labels.gather(1, places.clamp(min=0)).masked_fill(places < 0, 0)
        return labels.masked_fill((places == BETWEEN) | ~proposals.valid, -1), _at(truth.boxes, places)

    @torch.no_grad()
    def _choose(self, proposals: Proposals, truth: Truth) -> Chosen:
        """Sample among the proposals and the true boxes, in their order."""
        boxes = torch.cat([proposals.boxes, truth.boxes], dim=1)
        every = Proposals(boxes, torch.cat([proposals.valid, truth.valid], dim=1))
        labels, true_boxes = self.label(every, truth)
        sampler = self.fg_bg_sampler
        objects, background, counts = sample(labels, sampler.batch_size_per_image, sampler.positive_fraction)
        order = (objects | background).byte().argsort(dim=1, descending=True, stable=True)
        order = order + torch.arange(len(boxes), device=boxes.device)[:, None] * boxes.shape[1]
        rows = torch.cat([row[:count] for row, count in zip(order, counts, strict=True)])
        found, wanted = (tensor.flatten(0, 1).index_select(0, rows) for tensor in (boxes, true_boxes))
        deltas = encoded(wanted, found, self.box_coder.weights)
        return Chosen(list(found.split(counts)), labels.flatten().index_select(0, rows), deltas)


def _at(boxes: Tensor, places: Tensor) -> Tensor:
    """Return the boxes [n, M, 4] at places [n, A], the first for those below 0: [n, A, 4]."""
    return boxes.gather(1, places.clamp(min=0)[:, :, None].expand(-1, -1, 4))


def _bounds(sizes: Sequence[Size], boxes: Tensor) -> Tensor:
    """Return the largest coordinates (x, y, x, y) in images of ``sizes`` (height, width), [n, 4]."""
    bounds = torch.tensor([(width, height) * 2 for height, width in sizes], dtype=boxes.dtype)
    return bounds.to(boxes.device, non_blocking=True)


def _box_errors(deltas: Tensor, wanted: Tensor, objects: Tensor, beta: float) -> Tensor:
    """Return the sum of the smooth L1 distances of deltas [..., 4] where there is an object, bool [...]."""
    errors = F.smooth_l1_loss(deltas, wanted, beta=beta, reduction="none")
    return errors.where(objects[..., None], 0.0).sum()
