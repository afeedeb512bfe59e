"""MaskFormer's losses: queries are matched to the classes in an image, then learn their class and their mask.

In one thing they are not MaskFormer's: there, pixels that are ignored teach every mask to be absent. Here they teach
nothing, and an image without any labelled pixel teaches its queries nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import IGNORE
from fbnetv5.heads.host import to_host
from fbnetv5.heads.pieces import summed

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
        valid: [m, P] or [P], 0 or 1.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    wrong = masks + (1 - 2 * masks) * logits.sigmoid()  # 1 - the probability of the truth
    weights = masks * ALPHA + (1 - masks) * (1 - ALPHA)
    return (weights * wrong**2 * cross_entropy * valid).sum(dim=-1) / valid.sum(dim=-1).clamp(min=1)


def dice_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return 1 - (2 |p m| + 1) / (|p| + |m| + 1) over the valid pixels for each mask: [m]; arguments as above."""
    probabilities = logits.sigmoid()
    overlap = (probabilities * masks * valid).sum(dim=-1)
    return 1 - (2 * overlap + 1) / (((probabilities + masks) * valid).sum(dim=-1) + 1)


def pairwise_focal_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return the focal loss of each of Q predictions against each of M masks: [..., Q, M].

    Args:
        logits: [..., Q, P].
        masks: [..., M, P], 0 or 1.
        valid: [..., P], 0 or 1.
    """
    probabilities, valid = logits.sigmoid(), valid[..., None, :]
    inside = ALPHA * (1 - probabilities) ** 2 * F.softplus(-logits) * valid
    outside = (1 - ALPHA) * probabilities**2 * F.softplus(logits) * valid
    return (inside @ masks.mT + outside @ (1 - masks).mT) / valid.sum(dim=-1, keepdim=True).clamp(min=1)


def pairwise_dice_loss(logits: Tensor, masks: Tensor, valid: Tensor) -> Tensor:
    """Return the dice loss of each of Q predictions against each of M masks: [..., Q, M]; arguments as above."""
    probabilities, masks = logits.sigmoid() * valid[..., None, :], masks * valid[..., None, :]
    sums = probabilities.sum(dim=-1)[..., :, None] + masks.sum(dim=-1)[..., None, :]
    return 1 - (2 * probabilities @ masks.mT + 1) / (sums + 1)


@torch.no_grad()
def match(
    class_logits: Tensor, mask_logits: Tensor, segmentations: Tensor, weights: MaskLossWeights
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Assign queries to the classes of each of n images at the least total cost.

    The masks are compared at the size of the predicted ones. The costs of all images and classes reach the CPU at once:
    it is the only time that a GPU is waited for.

    Args:
        class_logits: [n, Q, K + 1], the last for no object.
        mask_logits: [n, Q, h, w].
        segmentations: uint8 [n, H, W], class ids below K, 255 = ignore.
        weights: of the terms.

    Returns:
        an image each, two int64 [min(Q, M)] of its M classes: queries, and the classes that they are
        assigned to; without any class both are empty.
    """
    num_classes = class_logits.shape[-1] - 1
    ids = torch.arange(num_classes, device=segmentations.device, dtype=torch.uint8)
    small = F.interpolate(segmentations[:, None].float(), size=mask_logits.shape[-2:], mode="nearest").flatten(1)
    masks, valid = (small[:, None] == ids[:, None]).float(), (small != IGNORE).float()  # [n, K, P] and [n, P]
    logits = mask_logits.flatten(2)
    cost = -weights.classification * class_logits.softmax(dim=-1)[..., :-1]
    cost = cost + weights.focal * pairwise_focal_loss(logits, masks, valid)
    cost = cost + weights.dice * pairwise_dice_loss(logits, masks, valid)
    # A run that diverges should stop over its loss, not over scipy's refusal.
    present = _are_present(segmentations, num_classes)[:, None].to(cost)
    matched = []
    for *costs, is_present in to_host(torch.cat([cost.nan_to_num(), present], dim=1)):
        (classes,) = is_present.nonzero()
        queries, columns = linear_sum_assignment(np.stack(costs)[:, classes])
        matched.append((queries, classes[columns]))
    return matched


def mask_losses(
    class_logits: Tensor,
    mask_logits: Tensor,
    segmentations: Tensor,
    weights: MaskLossWeights,
    *,
    across_ranks: bool = True,
) -> dict[str, Tensor]:
    """Return the three weighted losses of a batch.

    Focal and dice are means over all matched masks of the batch, at the size of the segmentations; the class loss is
    the weighted mean over all queries. Among several ranks, the masks that focal and dice are divided by are their mean
    over ranks, so that the ranks' mean is the mean over all masks; every rank must then call this. Unless
    ``across_ranks``, each rank has its own masks' mean.

    Args:
        class_logits: float32 [n, Q, K + 1], the last for no object.
        mask_logits: float32 [n, Q, h, w].
        segmentations: uint8 [n, H, W], class ids, 255 = ignore.
        weights: of the terms.
    """
    with torch.autocast(class_logits.device.type, enabled=False):  # sums over all pixels need their precision
        return _mask_losses(class_logits, mask_logits, segmentations, weights, across_ranks)


def _mask_losses(
    class_logits: Tensor, mask_logits: Tensor, segmentations: Tensor, weights: MaskLossWeights, across_ranks: bool
) -> dict[str, Tensor]:
    num_queries, device = class_logits.shape[1], class_logits.device
    matched = match(class_logits, mask_logits, segmentations, weights)
    to_learn = np.full(class_logits.shape[:2], class_logits.shape[2] - 1)
    pairs = []  # of image, query and class
    for index, (queries, classes) in enumerate(matched):
        if len(queries) == 0:
            to_learn[index] = _SKIPPED
        to_learn[index, queries] = classes
        pairs.append(np.stack([np.full_like(queries, index), queries, classes]))
    query_classes = torch.as_tensor(to_learn).to(device, non_blocking=True)
    images, queries, classes = torch.as_tensor(np.concatenate(pairs, axis=1)).to(device, non_blocking=True)
    sums = mask_logits.new_zeros(2)
    if len(images):
        chosen = mask_logits.flatten(0, 1).index_select(0, images * num_queries + queries)  # [M, h, w]

        def sums_of(maps: Tensor, images: Tensor, classes: Tensor) -> Tensor:
            return _mask_sums(maps, segmentations.index_select(0, images), classes)

        sums = summed(sums_of, chosen, images, classes, row_size=segmentations[0].numel())
    sums = sums + 0 * mask_logits.sum()  # so that every parameter has a gradient, if there is nothing to match
    num_masks = _mean_over_ranks(len(images), device) if across_ranks else sums.new_full((), float(len(images)))
    focal, dice = sums / num_masks.clamp(min=1.0)
    return {
        "loss_class": weights.classification * _class_loss(class_logits, query_classes, weights.no_object),
        "loss_focal": weights.focal * focal,
        "loss_dice": weights.dice * dice,
    }


def _mask_sums(maps: Tensor, segmentations: Tensor, classes: Tensor) -> Tensor:
    """Return the sums of focal and dice loss, [2], of maps [m, h, w] for classes [m] of segmentations [m, H, W]."""
    size = segmentations.shape[-2:]
    logits = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0].flatten(1)
    pixels = segmentations.flatten(1)
    masks, valid = (pixels == classes[:, None]).to(logits), (pixels != IGNORE).to(logits)
    return torch.stack([focal_loss(logits, masks, valid).sum(), dice_loss(logits, masks, valid).sum()])


def _are_present(segmentations: Tensor, num_classes: int) -> Tensor:
    """Return whether each of the classes stands in each segmentation [n, H, W], bool [n, K]."""
    pixels = segmentations.flatten(1).long()
    found = torch.zeros(len(pixels), IGNORE + 1, dtype=torch.bool, device=pixels.device)
    return found.scatter(1, pixels, True)[:, :num_classes]


def _mean_over_ranks(count: int, device: torch.device) -> Tensor:
    total = torch.full((), float(count), device=device)
    if not (dist.is_available() and dist.is_initialized()):
        return total
    dist.all_reduce(total)
    return total / dist.get_world_size()


def _class_loss(logits: Tensor, classes: Tensor, no_object_weight: float) -> Tensor:
    """Cross-entropy of [n, Q, K + 1] against [n, Q]: the weighted mean over the queries that are not skipped."""
    class_weights = logits.new_ones(logits.shape[2])
    class_weights[-1].fill_(no_object_weight)
    flat = classes.flatten()
    total = F.cross_entropy(logits.flatten(0, 1), flat, class_weights, ignore_index=_SKIPPED, reduction="sum")
    counted = class_weights[flat.clamp(min=0)] * (flat != _SKIPPED)
    return total / counted.sum().clamp(min=no_object_weight)
