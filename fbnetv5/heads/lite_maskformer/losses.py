"""MaskFormer's losses: queries are matched to the classes in an image, then learn their class and their mask.

In one thing they are not MaskFormer's: there, pixels that are ignored teach every mask to be absent. Here they teach
nothing, and an image without any labelled pixel teaches its queries nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import IGNORE

ALPHA = 0.25  # weight of the pixels inside a mask in the focal loss; 1 - ALPHA is that of those outside
_SKIPPED = -100  # a query that learns no class


@dataclass(frozen=True)
class MaskLossWeights:
    """Weights of the terms of cost and loss, and of the class of queries that stand for no object."""

    classification: float = 1.0
    focal: float = 20.0
    dice: float = 1.0
    no_object: float = 0.1


def focal_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return the focal loss (gamma 2) of each of m masks, the mean over its valid pixels: [m].

    Args:
        logits: [m, P].
        masks: [m, P], 0 or 1.
        valid: [P], 0 or 1.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    wrong = masks + (1 - 2 * masks) * logits.sigmoid()  # 1 - the probability of the truth
    weights = masks * ALPHA + (1 - masks) * (1 - ALPHA)
    return (weights * wrong**2 * cross_entropy) @ valid / valid.sum().clamp(min=1)


def dice_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return 1 - (2 |p m| + 1) / (|p| + |m| + 1) over the valid pixels for each mask: [m]; arguments as above."""
    probabilities = logits.sigmoid()
    overlap = (probabilities * masks) @ valid
    return 1 - (2 * overlap + 1) / ((probabilities + masks) @ valid + 1)


def pairwise_focal_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return the focal loss of each of Q predictions against each of M masks: [Q, M], from [Q, P], [M, P], [P]."""
    probabilities = logits.sigmoid()
    inside = ALPHA * (1 - probabilities) ** 2 * F.softplus(-logits) * valid
    outside = (1 - ALPHA) * probabilities**2 * F.softplus(logits) * valid
    return (inside @ masks.T + outside @ (1 - masks).T) / valid.sum().clamp(min=1)


def pairwise_dice_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return the dice loss of each of Q predictions against each of M masks: [Q, M], from [Q, P], [M, P], [P]."""
    probabilities = logits.sigmoid() * valid
    masks = masks * valid
    return 1 - (2 * probabilities @ masks.T + 1) / (probabilities.sum(1)[:, None] + masks.sum(1)[None] + 1)


@torch.no_grad()
def match(
    class_logits: Tensor, mask_logits: Tensor, segmentation: Tensor, classes: Tensor, weights: MaskLossWeights
) -> tuple[Tensor, Tensor]:
    """Assign queries to the classes of one image at the least total cost.

    The masks are compared at the size of the predicted ones.

    Args:
        class_logits: [Q, K + 1], the last for no object.
        mask_logits: [Q, h, w].
        segmentation: uint8 [H, W].
        classes: int64 [M], those in the segmentation.
        weights: of the terms.

    Returns:
        two int64 [min(Q, M)]: queries, and the positions in ``classes`` that they are assigned to.
    """
    small = F.interpolate(segmentation[None, None].float(), size=mask_logits.shape[-2:], mode="nearest")[0, 0]
    masks, valid = _masks(small, classes)
    logits = mask_logits.flatten(1)
    cost = -weights.classification * class_logits.softmax(dim=-1)[:, classes]
    cost = cost + weights.focal * pairwise_focal_loss(logits, masks, valid)
    cost = cost + weights.dice * pairwise_dice_loss(logits, masks, valid)
    # A run that diverges should stop over its loss, not over scipy's refusal.
    queries, positions = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
    return torch.as_tensor(queries, device=cost.device), torch.as_tensor(positions, device=cost.device)


def mask_losses(
    class_logits: Tensor, mask_logits: Tensor, segmentations: Tensor, weights: MaskLossWeights
) -> dict[str, Tensor]:
    """Return the three weighted losses of a batch.

    Focal and dice are means over all matched masks of the batch, at the size of the segmentations; the class loss is
    the weighted mean over all queries. Among several ranks, the masks that focal and dice are divided by are their mean
    over ranks, so that the ranks' mean is the mean over all masks; every rank must then call this.

    Args:
        class_logits: float32 [n, Q, K + 1], the last for no object.
        mask_logits: float32 [n, Q, h, w].
        segmentations: uint8 [n, H, W], class ids, 255 = ignore.
        weights: of the terms.
    """
    with torch.autocast(class_logits.device.type, enabled=False):  # sums over all pixels need their precision
        return _mask_losses(class_logits, mask_logits, segmentations, weights)


def _mask_losses(
    class_logits: Tensor, mask_logits: Tensor, segmentations: Tensor, weights: MaskLossWeights
) -> dict[str, Tensor]:
    no_object = class_logits.shape[2] - 1
    query_classes = torch.full(class_logits.shape[:2], no_object, device=class_logits.device)
    focal = dice = 0 * mask_logits.sum()  # so that every parameter has a gradient, if there is nothing to match
    num_masks = 0
    for index, segmentation in enumerate(segmentations):
        classes = segmentation[segmentation != IGNORE].unique().long()
        if len(classes) == 0:
            query_classes[index] = _SKIPPED
            continue
        queries, positions = match(class_logits[index], mask_logits[index], segmentation, classes, weights)
        query_classes[index, queries] = classes[positions]
        masks, valid = _masks(segmentation, classes[positions])
        logits = F.interpolate(
            mask_logits[index, queries][None], size=segmentation.shape, mode="bilinear", align_corners=False
        )[0].flatten(1)
        focal = focal + focal_loss(logits, masks, valid).sum()
        dice = dice + dice_loss(logits, masks, valid).sum()
        num_masks += len(queries)
    divisor = max(_mean_over_ranks(num_masks, class_logits.device), 1.0)
    return {
        "loss_class": weights.classification * _class_loss(class_logits, query_classes, weights.no_object),
        "loss_focal": weights.focal * focal / divisor,
        "loss_dice": weights.dice * dice / divisor,
    }


def _mean_over_ranks(count: int, device: torch.device) -> float:
    if not (dist.is_available() and dist.is_initialized()):
        return float(count)
    total = torch.tensor(float(count), device=device)
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


def _masks(segmentation: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return a mask for each class, float [M, H * W], and which pixels are valid, float [H * W]."""
    pixels = segmentation.flatten()
    return (pixels == classes[:, None]).float(), (pixels != IGNORE).float()


def _class_loss(logits: Tensor, classes: Tensor, no_object_weight: float) -> Tensor:
    """Cross-entropy of [n, Q, K + 1] against [n, Q]: the weighted mean over the queries that are not skipped."""
    class_weights = logits.new_ones(logits.shape[2])
    class_weights[-1] = no_object_weight
    flat = classes.flatten()
    total = F.cross_entropy(logits.flatten(0, 1), flat, class_weights, ignore_index=_SKIPPED, reduction="sum")
    return total / class_weights[flat[flat != _SKIPPED]].sum().clamp(min=no_object_weight)
