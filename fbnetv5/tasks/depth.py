"""Monocular depth: how far every pixel is, up to scale and shift, from path 1.

A search ranks topologies, for which metres do not matter. So what is predicted is each map brought to mean 0 and
standard deviation 1, by the mean absolute error. Metres, millimetres, the answers of a teacher that knows no unit, and
a depth of 0 all serve as they are, where a loss of logarithms (Eigen et al., 2014) needs a floor for the last; and the
loss is of one size in a room and on a street, near those of the other tasks, and so is its gradient. (That of a loss
which normalises the prediction too, as Ranftl et al. do, TPAMI 2020, grows as the prediction flattens.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.types import DEPTH, Features, Size, Target, TargetDict

LEAST_DEVIATION = 1e-6  # of a map, in its own unit; a map of a single depth stays 0


@dataclass(frozen=True)
class Depth:
    """Relative depth with a single convolution."""

    path: int = 1
    kernel_size: int = 3
    target: Target = DEPTH

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        """Build the head for ``channels[path]`` input channels; depth has no classes."""
        return DepthSearchHead(self, channels[self.path])


class DepthSearchHead(nn.Module):
    """One convolution to a map, upsampled to the image, on a normalised feature (as in segmentation)."""

    def __init__(self, task: Depth, in_channels: int) -> None:
        super().__init__()
        self.task = task
        self.norm = nn.BatchNorm2d(in_channels)
        self.depth = nn.Conv2d(in_channels, 1, task.kernel_size, padding=task.kernel_size // 2)

    def forward(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return the mean over the n images of each one's error over its known pixels, for features [n, C, h, w]."""
        maps = self.depth(self.norm(features[self.task.path]))
        maps = F.interpolate(maps, size=image_size, mode="bilinear", align_corners=False)[:, 0]  # [n, H, W]
        truths = torch.stack([target[self.task.target.name].to(maps.dtype) for target in targets])
        return relative_error(maps, truths).mean()


def relative_error(predictions: Tensor, truths: Tensor) -> Tensor:
    """Return the mean absolute error of maps [..., H, W] against ``truths`` brought to mean 0 and deviation 1, [...].

    Pixels that are NaN in a map of ``truths`` [..., H, W] do not count; without any other the error is 0.
    """
    known = truths.isfinite()
    count = known.sum(dim=(-2, -1), keepdim=True).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return values.where(known, 0.0).sum(dim=(-2, -1), keepdim=True) / count

    centred = truths - mean(truths)
    centred = centred - mean(centred)  # what rounding left, which a map of a single depth would be divided by
    deviation = mean(centred.square()).sqrt().clamp(min=LEAST_DEVIATION)
    return mean((predictions - centred / deviation).abs())[..., 0, 0]
