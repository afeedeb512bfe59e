"""Pooling of one path's feature under boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import RoIAlign

from fbnetv5.base.types import Size

SAMPLES_PER_BIN = 2
"""In each direction; fixed, so that the cost does not depend on the boxes."""


class PathRoIAlign(RoIAlign):
    """RoIAlign on one path's feature at its nominal stride, in the form that torchvision's ``RoIHeads`` calls.

    torchvision's own takes the power of two that is nearest to image / grid for the stride: 64 for the 2 columns that
    family A has of 96 pixels at stride 32.

    Args:
        stride: pixels of the image between neighbouring positions of the feature.
        size: bins of what is pooled, in each direction.
        aligned: whether positions lie at the centres of pixels, as Detectron2 has them.
    """

    def __init__(self, stride: int, size: int, *, aligned: bool) -> None:
        super().__init__(size, 1 / stride, SAMPLES_PER_BIN, aligned=aligned)

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], image_sizes: list[Size]) -> Tensor:
        """Pool one feature [n, C, h, w] under n lists of boxes [m, 4] (xyxy pixels) to [sum of m, C, size, size]."""
        (feature,) = features.values()
        dtype = torch.promote_types(feature.dtype, torch.float32)
        pooled: Tensor = super().forward(feature.to(dtype), [rows.to(dtype) for rows in boxes])
        return pooled
