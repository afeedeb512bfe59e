"""Keypoints of one person an image, by heatmaps, from path 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import KEYPOINTS, Features, Size, Target, TargetDict
from fbnetv5.heads.simple_baseline.heatmaps import SIGMA, heatmap_loss

HEATMAP_STRIDE = 4  # pixels a cell, as after SimpleBaseline's three deconvolutions of path 3


@dataclass(frozen=True)
class Keypoints:
    """Keypoints with a single convolution to heatmaps, which are learnt as SimpleBaseline's are.

    Attributes:
        path: the path read.
        sigma: of a keypoint's gaussian, in cells.
    """

    path: int = 1
    sigma: float = SIGMA
    target: Target = KEYPOINTS

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise InputError(f"sigma={self.sigma} of keypoints should be above 0")

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        """Build the head for ``channels[path]`` input channels and the given keypoints."""
        return KeypointsSearchHead(self, channels[self.path], len(classes))


class KeypointsSearchHead(nn.Module):
    """One convolution to heatmaps, brought to stride 4, on a normalised feature (as in segmentation)."""

    def __init__(self, task: Keypoints, in_channels: int, num_points: int) -> None:
        super().__init__()
        self.task = task
        self.norm = nn.BatchNorm2d(in_channels)
        self.heatmaps = nn.Conv2d(in_channels, num_points, 3, padding=1)

    def forward(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return SimpleBaseline's loss, about 1 at first, for features [n, C, h, w]."""
        maps = self.heatmaps(self.norm(features[self.task.path]))
        size = tuple(max(1, side // HEATMAP_STRIDE) for side in image_size)
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)  # [n, K, *size]
        return heatmap_loss(maps, targets, self.task.target.name, image_size, sigma=self.task.sigma)
