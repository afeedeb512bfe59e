"""Losses over pixels in pieces, so that maps of all images and classes at full size are never there at once.

At 48 images of 171 classes and 224 x 224 pixels one such map takes 1.65 GB, and a loss and its gradient several.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import IGNORE, Size

PIECE_BYTES = 2**27  # of the map at full size that a piece computes
Piece = Callable[..., Tensor]


def summed(piece: Piece, maps: Tensor, *others: Tensor, row_size: int) -> Tensor:
    """Return the sum of ``piece(maps, *others)`` over pieces of rows, with the gradient for ``maps``.

    The gradient of each piece is computed with its value, and kept at the size of ``maps``; there is none of the
    gradient. Rows that fit one piece are computed as if this were not here.

    Args:
        piece: from some rows of all arguments to sums over them, [L].
        maps: [n, ...].
        others: have no gradient; [n, ...].
        row_size: numbers that a piece holds for each row at full size.

    Returns:
        [L].
    """
    rows = max(1, PIECE_BYTES // (row_size * maps.element_size()))
    if len(maps) <= rows:
        return piece(maps, *others)
    total: Tensor = _Summed.apply(piece, rows, maps, *others)
    return total


def pixel_cross_entropy(scores: Tensor, masks: Tensor, image_size: Size) -> Tensor:
    """Return the mean over n images of each one's mean cross-entropy over its pixels that are not 255.

    Args:
        scores: of the classes, [n, K, h, w]; resized bilinearly to the images.
        masks: uint8 [n, H, W], class ids, 255 = ignore.
        image_size: (H, W).
    """
    errors = functools.partial(_image_errors, image_size)
    (total,) = summed(errors, scores, masks, row_size=scores.shape[1] * image_size[0] * image_size[1])
    return total / len(masks)


def _image_errors(image_size: Size, scores: Tensor, masks: Tensor) -> Tensor:
    """Return the sum over images of the mean error of each, [1]."""
    scores = F.interpolate(scores, size=image_size, mode="bilinear", align_corners=False)  # [n, K, H, W]
    losses = F.cross_entropy(scores, masks.long(), ignore_index=IGNORE, reduction="none").sum(dim=(1, 2))
    return (losses / (masks != IGNORE).sum(dim=(1, 2)).clamp(min=1)).sum(dim=0, keepdim=True)


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piece: Piece, rows: int, maps: Tensor, *others: Tensor) -> Tensor:
        wants_gradient = ctx.needs_input_grad[2]
        totals, gradients = [], []
        for given in zip(*(tensor.split(rows) for tensor in (maps, *others)), strict=True):
            with torch.set_grad_enabled(wants_gradient):
                part = given[0].detach().requires_grad_(wants_gradient)
                sums = piece(part, *given[1:])
                if wants_gradient:
                    gradients.append(_jacobian(sums, part))
            totals.append(sums.detach())
        ctx.num_others = len(others)
        if wants_gradient:
            ctx.save_for_backward(torch.cat(gradients, dim=1))  # [L, n, ...]
        return torch.stack(totals).sum(dim=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *above: Tensor) -> Any:
        (gradients,) = ctx.saved_tensors
        return None, None, torch.einsum("l,l...->...", above[0], gradients), *[None] * ctx.num_others


def _jacobian(sums: Tensor, maps: Tensor) -> Tensor:
    """Return the gradient of each of ``sums`` [L] for ``maps`` [m, ...], [L, m, ...]."""
    last = len(sums) - 1
    return torch.stack(
        [torch.autograd.grad(one, maps, retain_graph=index < last)[0] for index, one in enumerate(sums.unbind())]
    )
