"""A task and a search method of one's own, as CONTRIBUTING.md describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.types import Target, TargetKind
from fbnetv5.search.algorithms import MultitaskReinforce


@dataclass(frozen=True)
class Depth:
    """Monocular depth: the mean absolute error over known pixels."""

    path: int = 1
    target: Target = Target("depth", TargetKind.DENSE)  # noqa: RUF009

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        assert classes == ()
        return DepthSearchHead(self, channels[self.path])


class DepthSearchHead(nn.Module):
    def __init__(self, task: Depth, in_channels: int) -> None:
        super().__init__()
        self.task = task
        self.head = nn.Sequential(nn.BatchNorm2d(in_channels), nn.Conv2d(in_channels, 1, 3, padding=1))

    def forward(self, features: Any, image_size: tuple[int, int], targets: Any) -> Tensor:
        depth = F.interpolate(self.head(features[self.task.path]), size=image_size, mode="bilinear")[:, 0]
        truth = torch.stack([target["depth"] for target in targets]).to(depth.dtype)
        return (depth - truth).abs()[truth.isfinite()].mean()


class Reluctant(MultitaskReinforce):
    """Algorithm 4 at a share of its rate."""

    def __init__(self, space: Any, *, num_tasks: int, num_samples: int, seed: int, share: float = 0.5) -> None:
        super().__init__(space, num_tasks=num_tasks, num_samples=num_samples, seed=seed)
        self.share = share

    def update(self, choices: Tensor, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        super().update(choices, losses, num_labelled, lr * self.share)
