"""MaskFormer's semantic inference: from queries to a class for every pixel of the stored image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import Size
from fbnetv5.heads.pixel_classes import LikeliestClasses, few_classes


def semantic_map(
    class_logits: Tensor, mask_logits: Tensor, *, image_size: Size, true_size: Size, output_size: Size
) -> tuple[Tensor, Tensor]:
    """Return the likeliest class of every pixel, uint8 [H, W] of ``output_size``, and its probability, [H, W].

    A pixel's score for a class is the sum over queries of the probabilities that the query is of that class and that
    the pixel lies in its mask. Scores are computed on the padded image, cropped, then resized. A pixel's scores can
    have any sum, so the probability is the score over the sum of all classes' scores.

    Args:
        class_logits: [Q, K + 1], the last for no object.
        mask_logits: [Q, h, w].
        image_size: (height, width) of the padded image, which the masks cover.
        true_size: the image's before it was padded.
        output_size: of the stored image.
    """
    masks = F.interpolate(mask_logits[None], size=image_size, mode="bilinear", align_corners=False)[0]
    masks = masks[:, : true_size[0], : true_size[1]].sigmoid().flatten(1)  # [Q, pixels]
    probabilities = class_logits.softmax(dim=-1)[:, :-1].T  # [K, Q]

    def scores_of(weights: Tensor) -> Tensor:  # [k, Q] -> [k, H, W]
        scores = (weights[None] @ masks[None])[0].unflatten(1, true_size)  # a batch of one: XNNPACK takes no other
        if output_size == true_size:
            return scores
        return F.interpolate(scores[None], size=output_size, mode="bilinear", align_corners=False)[0]

    num_pixels = max(true_size[0] * true_size[1], output_size[0] * output_size[1])
    found = LikeliestClasses()
    for part in few_classes(len(probabilities), num_pixels, masks.element_size()):
        found.add(scores_of(probabilities[part]))
    total = scores_of(probabilities.sum(dim=0, keepdim=True))[0]
    return found.classes, (found.scores / total.clamp_min(torch.finfo(total.dtype).tiny)).clamp_max(1.0)
