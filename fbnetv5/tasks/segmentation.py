"""Semantic segmentation: a class per pixel, from path 2 (FBNetV5, Appendix F.1)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.types import IGNORE, SEGMENTATION, Features, Size, Target, TargetDict
from fbnetv5.heads.pieces import summed


@dataclass(frozen=True)
class Segmentation:
    """Segmentation with a single convolution, per-pixel cross-entropy over the classes of ``segmentation``."""

    path: int = 2
    target: Target = SEGMENTATION

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        """Build the head for ``channels[path]`` input channels and the given classes."""
        return SegmentationSearchHead(self, channels[self.path], len(classes))


class SegmentationSearchHead(nn.Module):
    """One convolution to class scores, upsampled to the image.

    Batch normalisation goes before it: every fusion adds up to four features, so that the scale of what arrives differs
    between sampled architectures by orders of magnitude.
    """

    def __init__(self, task: Segmentation, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.task = task
        self.norm = nn.BatchNorm2d(in_channels)
        self.scores = nn.Conv2d(in_channels, num_classes, 3, padding=1)

    def forward(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return the mean over the n images of each one's mean over its pixels that are not 255.

        Features are [n, C, h, w].
        """
        scores = self.scores(self.norm(features[self.task.path]))
        masks = torch.stack([target[self.task.target.name] for target in targets])  # [n, H, W]
        errors = functools.partial(_image_errors, image_size)
        (total,) = summed(errors, scores, masks, row_size=scores.shape[1] * image_size[0] * image_size[1])
        return total / len(masks)


def _image_errors(image_size: Size, scores: Tensor, masks: Tensor) -> Tensor:
    """Return the sum over images of the mean error of each, [1], from scores [n, K, h, w] and masks [n, H, W]."""
    scores = F.interpolate(scores, size=image_size, mode="bilinear", align_corners=False)  # [n, K, H, W]
    losses = F.cross_entropy(scores, masks.long(), ignore_index=IGNORE, reduction="none").sum(dim=(1, 2))
    return (losses / (masks != IGNORE).sum(dim=(1, 2)).clamp(min=1)).sum(dim=0, keepdim=True)
