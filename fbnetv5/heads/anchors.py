"""Anchors: the boxes that a region proposal network starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class NominalStrideAnchors(AnchorGenerator):
    """Anchors at the path's nominal stride.

    torchvision divides the image by the grid, which is 17 for the 13 columns that family A has of 224 pixels.

    Args:
        sizes: square roots of the anchors' areas, in pixels.
        aspect_ratios: height / width; every size has every ratio.
        stride: pixels between neighbouring positions of the feature.
    """

    def __init__(self, sizes: Sequence[int], aspect_ratios: Sequence[float], stride: int) -> None:
        super().__init__((tuple(sizes),), (tuple(aspect_ratios),))
        self.stride = stride

    @property
    def num_anchors(self) -> int:
        """Anchors at each position."""
        (count,) = self.num_anchors_per_location()
        return int(count)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return anchors float [h * w * A, 4] (xyxy pixels) for each image; one feature map [n, C, h, w]."""
        (feature,) = feature_maps
        # half precision cannot tell neighbouring pixels apart
        self.set_cell_anchors(torch.promote_types(feature.dtype, torch.float32), feature.device)
        stride = torch.full((), self.stride, device=feature.device)
        (anchors,) = self.grid_anchors([list(feature.shape[-2:])], [[stride, stride]])
        return [anchors] * len(image_list.image_sizes)


class ExactAnchors(NominalStrideAnchors):
    """Anchors as Detectron2 has them: not rounded to whole pixels, and ordered by size, then ratio."""

    def generate_anchors(
        self,
        scales: Sequence[int],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Return the anchors around the origin, [sizes * ratios, 4] (xyxy pixels)."""
        sides = torch.as_tensor(scales, dtype=dtype, device=device)[:, None]
        roots = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[None, :]
        widths, heights = (sides / roots).flatten(), (sides * roots).flatten()
        return torch.stack([-widths, -heights, widths, heights], dim=1) / 2
