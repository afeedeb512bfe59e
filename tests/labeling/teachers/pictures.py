"""Images of many sizes for teachers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIZES = ((80, 100), (60, 60), (80, 100), (120, 50))


def pictures() -> list[Tensor]:
    """Return images of random spots of colour, uint8 [3, H, W]; two have the same size."""
    generator = torch.Generator().manual_seed(1)
    spots = [torch.rand(1, 3, 4, 4, generator=generator) for _ in SIZES]
    return [
        (255 * F.interpolate(one, size=size, mode="nearest")[0]).to(torch.uint8)
        for one, size in zip(spots, SIZES, strict=True)
    ]
