"""True boxes of a batch, what boxes are matched to, and which are sampled: for all images at once.

They are torchvision's ``Matcher``, ``BoxCoder`` and ``BalancedPositiveNegativeSampler``, whose results they have, and
whose random draws. Those take an image at a time and ask a GPU for a count several times for each; here a batch asks
once, for what the sampler draws from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fbnetv5.heads.fixed_boxes import overlaps
from fbnetv5.heads.host import to_host

BACKGROUND, BETWEEN = -1, -2  # in the place of a match
PAIRS = 2**25  # of boxes whose overlaps are held at a time


class Truth(NamedTuple):
    """The true boxes of n images, M places each: ``boxes`` [n, M, 4] (xyxy), ``labels`` int64 [n, M], ``valid`` bool
    [n, M]. Places that are not used are zeros."""

    boxes: Tensor
    labels: Tensor
    valid: Tensor


def padded_truth(truth: Sequence[Mapping[str, Tensor]]) -> Truth:
    """Return n dicts with ``boxes`` [m, 4] and ``labels`` int64 [m] as one, with one place at least."""
    boxes = pad_sequence([one["boxes"] for one in truth], batch_first=True)
    labels = pad_sequence([one["labels"] for one in truth], batch_first=True)
    if boxes.shape[1] == 0:
        boxes, labels = boxes.new_zeros(len(truth), 1, 4), labels.new_zeros(len(truth), 1)
    counts = torch.tensor([len(one["labels"]) for one in truth]).to(boxes.device, non_blocking=True)
    return Truth(boxes, labels, torch.arange(boxes.shape[1], device=boxes.device) < counts[:, None])


def match(boxes: Tensor, truth: Truth, *, low: float, high: float, keep_best: bool = False) -> Tensor:
    """Return the true box that each box overlaps most, int64 [n, A]: its place, ``BACKGROUND`` or ``BETWEEN``.

    Args:
        boxes: [n, A, 4] (xyxy).
        truth: of the n images.
        low, high: overlap below which a box is background, and from which it is matched.
        keep_best: match the boxes that overlap a true one most, however little that is.
    """
    rows = max(1, PAIRS // (truth.boxes.shape[1] * max(1, boxes.shape[1])))
    parts = zip(boxes.split(rows), truth.boxes.split(rows), truth.valid.split(rows), strict=True)
    return torch.cat([_match(*part, low=low, high=high, keep_best=keep_best) for part in parts])


def _match(boxes: Tensor, true_boxes: Tensor, valid: Tensor, *, low: float, high: float, keep_best: bool) -> Tensor:
    quality = overlaps(true_boxes, boxes).masked_fill(~valid[:, :, None], -1.0)  # [n, M, A]
    best, places = quality.max(dim=1)
    found = places.masked_fill(best < low, BACKGROUND).masked_fill((best >= low) & (best < high), BETWEEN)
    if keep_best and boxes.shape[1]:
        highest = quality.amax(dim=2, keepdim=True)
        is_best = (quality == highest) & (highest > 0) & valid[:, :, None]  # nothing is best for what none overlaps
        found = torch.where(is_best.any(dim=1), places, found)
    return found


def encoded(boxes: Tensor, bases: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the deltas [..., 4] that lead from the bases [..., 4] to the boxes [..., 4] (xyxy), times the weights."""
    sizes, base_sizes = boxes[..., 2:] - boxes[..., :2], bases[..., 2:] - bases[..., :2]
    shift = (boxes[..., :2] + 0.5 * sizes) - (bases[..., :2] + 0.5 * base_sizes)
    moved, scaled = shift.unbind(-1), (sizes / base_sizes).log().unbind(-1)
    widths = base_sizes.unbind(-1)
    moves = [weight * one / width for weight, one, width in zip(weights[:2], moved, widths, strict=True)]
    return torch.stack([*moves, *(weight * one for weight, one in zip(weights[2:], scaled, strict=True))], dim=-1)


def decoded(deltas: Tensor, bases: Tensor, weights: Sequence[float], largest: float) -> Tensor:
    """Return the boxes [..., 4] (xyxy) that deltas [..., 4] lead to from the bases, as :func:`encoded` has them.

    Sides grow by ``exp(largest)`` at most.
    """
    sizes = bases[..., 2:] - bases[..., :2]
    centres, scale = bases[..., :2] + 0.5 * sizes, deltas.unbind(-1)
    (dx, dy, dw, dh), (widths, heights) = (d / w for d, w in zip(scale, weights, strict=True)), sizes.unbind(-1)
    x, y = dx * widths + centres[..., 0], dy * heights + centres[..., 1]
    half_width, half_height = (0.5 * (d.clamp(max=largest).exp() * side) for d, side in ((dw, widths), (dh, heights)))
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)


class Sampled(NamedTuple):
    """Which of [n, A] are sampled: ``objects`` and ``background``, bool [n, A], and how many of each image."""

    objects: Tensor
    background: Tensor
    counts: list[int]


def sample(labels: Tensor, count: int, share: float) -> Sampled:
    """Sample up to ``count`` of each of n images, ``share`` of them objects at most, from torch's global generator.

    Args:
        labels: [n, A], above 0 an object, 0 background, below 0 neither.
    """
    kinds = torch.stack([labels >= 1, labels == 0])  # [2, n, A]
    available = to_host(kinds.sum(dim=2)).T.tolist()
    num_images, num_boxes = labels.shape
    ranks: list[list[Tensor]] = [[], []]  # of those that are taken, among all of their kind
    counts = []
    for row, (num_objects, num_background) in enumerate(available):
        taken = min(num_objects, int(count * share))
        rest = min(num_background, count - taken)
        counts.append(taken + rest)
        for of_kind, total, wanted in ((ranks[0], num_objects, taken), (ranks[1], num_background, rest)):
            of_kind.append(torch.randperm(total, device=labels.device)[:wanted] + row * num_boxes)
    are_taken = torch.zeros(2, num_images * num_boxes, dtype=torch.bool, device=labels.device)
    for mask, of_kind in zip(are_taken, ranks, strict=True):
        mask.index_fill_(0, torch.cat(of_kind), True)
    places = (kinds.cumsum(dim=2) - 1).clamp(min=0)
    objects, background = kinds & are_taken.unflatten(1, (num_images, num_boxes)).gather(2, places)
    return Sampled(objects, background, counts)
