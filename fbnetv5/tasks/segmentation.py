"""Semantic segmentation: a class per pixel (FBNetV5, Appendix F.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fbnetv5.base.types import SEGMENTATION, Features, Size, Target, TargetDict
from fbnetv5.heads.pieces import pixel_cross_entropy


@dataclass(frozen=True)
class Segmentation:
    """Segmentation with a single convolution, per-pixel cross-entropy over the classes of ``segmentation``.

    Attributes:
        path: the path read: by default the finer one of the final head, Lite MaskFormer; the paper searches on path 2.
    """

    path: int = 1
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
        return pixel_cross_entropy(scores, masks, image_size)
