from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.archs.fusion import to_higher_resolution, to_lower_resolution


def constant_maps(*values: float) -> Tensor:
    """[1, C, 2, 2]: channel i is ``values[i]`` everywhere."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None].expand(1, len(values), 2, 2).contiguous()


def channel_values(x: Tensor) -> list[float]:
    assert torch.equal(x, x[:, :, :1, :1].expand_as(x))
    return x[0, :, 0, 0].tolist()


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(2, [1, 2]), (3, [1, 2, 1]), (4, [1, 2, 1, 2]), (5, [1, 2, 1, 2, 1]), (1, [1])],
)
def test_lower_resolution_repeats_channels_and_drops_the_extra(channels, expected):
    assert channel_values(to_lower_resolution(constant_maps(1, 2), channels, (1, 1))) == expected


@pytest.mark.parametrize(
    ("values", "channels", "expected"),
    [
        ((1, 3, 5, 9), 2, [2, 7]),
        ((1, 3, 5), 2, [2, 2.5]),  # 5 is averaged with the zero that fills the group
        ((1, 2, 3, 6, 4), 2, [2, 10 / 3]),
        ((1, 2, 3), 1, [2]),
        ((1, 2), 2, [1, 2]),
        ((1, 2), 3, [1, 2, 0]),
    ],
)
def test_higher_resolution_averages_groups_of_channels(values, channels, expected):
    assert channel_values(to_higher_resolution(constant_maps(*values), channels, (4, 4))) == pytest.approx(expected)


def test_lower_resolution_interpolates_between_pixel_centres():
    x = torch.tensor([[0.0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]])[None, None]
    assert to_lower_resolution(x, 1, (2, 2)).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    # Three pixels from four: the centres lie at 1/6, 9/6 and 17/6 of the input's pixels.
    assert to_lower_resolution(x[:, :, :1], 1, (1, 3))[0, 0, 0].tolist() == pytest.approx([1 / 6, 1.5, 17 / 6])


def test_higher_resolution_takes_the_nearest_pixel():
    x = torch.tensor([[1.0, 2, 3]])[None, None]
    assert to_higher_resolution(x, 1, (2, 6)).tolist() == [[[[1, 1, 2, 2, 3, 3]] * 2]]
    # An odd target, as a 13 pixel path fused into a 28 pixel one: pixel i comes from floor(3 i / 7).
    assert to_higher_resolution(x, 1, (1, 7))[0, 0, 0].tolist() == [1, 1, 1, 2, 2, 3, 3]


def paper_to_lower(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Appendix B, in any order of steps: repeat the channels, drop the extra, then interpolate."""
    copies = -(-channels // x.shape[1])
    return F.interpolate(x.repeat(1, copies, 1, 1)[:, :channels], size=size, mode="bilinear", align_corners=False)


def paper_to_higher(x: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Appendix B in its own order: up-sample, pad, average."""
    x = F.interpolate(x, size=size, mode="nearest")
    group = -(-x.shape[1] // channels)
    padded = torch.cat([x, x.new_zeros(x.shape[0], group * channels - x.shape[1], *size)], dim=1)
    return torch.stack([padded[:, i * group : (i + 1) * group].mean(1) for i in range(channels)], dim=1)


@pytest.mark.parametrize(("low", "high"), [(24, 40), (24, 120), (24, 224), (40, 120), (40, 224), (120, 224), (18, 30)])
def test_the_order_of_steps_does_not_matter(low, high):
    torch.manual_seed(0)
    fine, coarse = torch.randn(2, low, 28, 27), torch.randn(2, high, 13, 6)
    lower, higher = to_lower_resolution(fine, high, (13, 6)), to_higher_resolution(coarse, low, (28, 27))
    assert torch.allclose(lower, paper_to_lower(fine, high, (13, 6)), atol=1e-6)
    assert torch.allclose(higher, paper_to_higher(coarse, low, (28, 27)), atol=1e-6)


def test_memory_format_is_kept():
    fine, coarse = torch.randn(2, 3, 8, 8), torch.randn(2, 7, 4, 4)
    for layout in (torch.channels_last, torch.contiguous_format):
        lower = to_lower_resolution(fine.to(memory_format=layout), 7, (4, 4))
        higher = to_higher_resolution(coarse.to(memory_format=layout), 3, (8, 8))
        assert lower.is_contiguous(memory_format=layout)
        assert higher.is_contiguous(memory_format=layout)
