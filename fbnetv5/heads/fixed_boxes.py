"""Suppression and RoIAlign in tensor operations of fixed size, which torch.export and mobile runtimes have.

They compute what torchvision's operators do, for one image. What has no fixed size there, such as the boxes that
suppression leaves, has as many places here as there can be, with a mask of those that count.
"""

from __future__ import annotations

import torch
from torch import Tensor


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of boxes [..., n, 4] with boxes [..., m, 4] (xyxy), [..., n, m].

    Boxes without area overlap with nothing.
    """
    corner = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    end = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    sides = (end - corner).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    union = areas(boxes)[..., :, None] + areas(others)[..., None, :] - common
    return common / union.clamp(min=torch.finfo(boxes.dtype).tiny)


def areas(boxes: Tensor) -> Tensor:
    """Return the areas of boxes [..., n, 4] (xyxy), [..., n]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def are_large(boxes: Tensor, min_size: float) -> Tensor:
    """Return, as 0 or 1 [..., n], which boxes [..., n, 4] (xyxy) measure at least ``min_size`` pixels on both sides."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= min_size).to(boxes.dtype).prod(dim=-1)


def clipped(boxes: Tensor, bounds: Tensor) -> Tensor:
    """Clip boxes [..., 4] (xyxy) to 0 and the largest coordinates [4]."""
    return torch.minimum(boxes.clamp(min=0), bounds)


def first_kept(boxes: Tensor, valid: Tensor, *, threshold: float, count: int) -> tuple[Tensor, Tensor]:
    """Return the first boxes that suppression keeps: greedily, the best that overlaps with no better one that is kept.

    Args:
        boxes: [n, 4] (xyxy), the best first; those that take part have an area.
        valid: [n], 0 where a box does not take part.
        threshold: overlap above which the worse of two boxes is dropped.
        count: boxes to return.

    Returns:
        ``count`` boxes [count, 4], and which of them count, 0 or 1 [count]; the others are zeros.
    """
    places, counts = first_places(boxes, valid, threshold=threshold, count=count)
    return boxes.index_select(0, places) * counts[:, None], counts


def first_places(
    boxes: Tensor, valid: Tensor, *, threshold: float, count: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return where the first boxes that suppression keeps are, int64 [count], and which of those count, 0 or 1 [count].

    The best box is taken, and what it overlaps is dropped, ``count`` times; the loop has no branches, so that it
    unrolls, and few operations, as on a device each is a call.

    Args:
        boxes, valid, threshold, count: as in :func:`first_kept`.
        labels: [n], of the same type as the boxes; boxes of different labels do not meet, and a box without area, which
            overlaps with nothing, may take part.
    """
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=boxes.dtype, device=boxes.device)
    extents = (boxes * signs).T.contiguous()  # [4, n]: of two boxes, the smaller numbers bound what they share
    sizes = areas(boxes) * threshold
    remaining = valid * torch.arange(len(boxes), 0, -1, dtype=boxes.dtype, device=boxes.device)
    ranks, taken = [], []
    for _ in range(count):
        rank, best = remaining.max(dim=0, keepdim=True)  # 0 where no box is left
        shared = torch.minimum(extents, extents.index_select(1, best)).unflatten(0, (2, 2)).sum(dim=0)  # [2, n]
        common = shared.clamp(min=0).prod(dim=0)
        if labels is not None:
            common = common * (labels == labels.index_select(0, best))
            remaining = remaining * (remaining < rank)  # the one taken, which may have no area
        # common / (size + other size - common) <= threshold
        apart = common * (1 + threshold) <= sizes + sizes.index_select(0, best)
        remaining = remaining * apart
        ranks.append(rank)
        taken.append(best)
    return torch.cat(taken), torch.cat(ranks).clamp(max=1.0)


def kept_of_each_class(boxes: Tensor, valid: Tensor, *, threshold: float) -> Tensor:
    """Return which boxes suppression keeps, 0 or 1 [K, n]; boxes of different classes do not meet.

    Args:
        boxes: [K, n, 4] (xyxy), the best of each class first.
        valid: [K, n], 0 where a box does not take part.
        threshold: overlap above which the worse of two boxes is dropped.
    """
    num_boxes = boxes.shape[1]
    order = torch.arange(num_boxes, device=boxes.device)
    worse = (order[:, None] < order[None, :]).to(boxes.dtype)  # [n, n]: the second is the worse one
    drops = (overlaps(boxes, boxes) > threshold).to(boxes.dtype) * worse  # [K, n, n]
    kept = valid
    for i in range(num_boxes - 1):
        kept = kept * (1 - kept[:, i : i + 1] * drops[:, i])
    return kept


def aligned_pool(feature: Tensor, boxes: Tensor, *, stride: int, size: int, samples: int) -> Tensor:
    """Return RoIAlign (aligned, ``samples`` x ``samples`` points a bin) of one image as two matrix products.

    A point's bilinear weights are a product of a row's and a column's, and so is their mean over the points of a bin:
    pooled = rows @ feature @ columns.

    Args:
        feature: [C, h, w].
        boxes: [R, 4] (xyxy pixels of the image).
        stride: pixels of the image between two positions of the feature.
        size: bins on a side.
        samples: points of a bin on a side.

    Returns:
        [R, C, size, size].
    """
    channels, height, width = feature.shape
    rows = _bin_weights(boxes[:, 1], boxes[:, 3], height, stride, size, samples)  # [R, size, h]
    columns = _bin_weights(boxes[:, 0], boxes[:, 2], width, stride, size, samples)  # [R, size, w]
    by_row = feature.transpose(0, 1).reshape(height, channels * width)
    # products of batches, here of one: XNNPACK takes no others
    pooled_rows = (rows.flatten(0, 1)[None] @ by_row[None]).reshape(len(boxes), size * channels, width)
    pooled = pooled_rows @ columns.transpose(1, 2)  # [R, size * C, size]
    return pooled.reshape(len(boxes), size, channels, size).transpose(1, 2)


def _bin_weights(start: Tensor, end: Tensor, num_positions: int, stride: int, size: int, samples: int) -> Tensor:
    """Return how much each position of an axis counts in each bin of each box, [R, size, num_positions]."""
    first = start / stride - 0.5  # [R]
    bin_length = (end - start) / (stride * size)
    steps = (torch.arange(size * samples, dtype=start.dtype, device=start.device) + 0.5) / samples  # in bins
    points = first[:, None] + steps * bin_length[:, None]  # [R, size * samples]
    inside = (points >= -1).to(start.dtype) * (points <= num_positions)
    positions = torch.arange(num_positions, dtype=start.dtype, device=start.device)
    distance = (points.clamp(0, num_positions - 1)[:, :, None] - positions).abs()
    weights = (1 - distance).clamp(min=0) * inside[:, :, None]
    return weights.unflatten(1, (size, samples)).mean(dim=2)
