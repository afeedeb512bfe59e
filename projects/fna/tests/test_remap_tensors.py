"""The equations of FNA++ on tensors written by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.archs.remap import ChannelMap, first_channels, remap_outputs, remap_width
from fbnetv5.projects.fna.remap_tensors import remap_groups, remap_kernel, replicated_channels, top_channels

# [3, 2, 1, 1]; entry (i, j) is 10 i + j, counted from 1
WEIGHT = torch.tensor([[11.0, 12.0], [21.0, 22.0], [31.0, 32.0]])[:, :, None, None]


def width(num_outputs: int, num_inputs: int) -> torch.Tensor:
    return remap_width(WEIGHT, first_channels(3, num_outputs), first_channels(2, num_inputs))[:, :, 0, 0]


def test_fewer_channels_are_the_first_ones():  # eq. 2
    assert torch.equal(width(2, 1), torch.tensor([[11.0], [21.0]]))
    assert torch.equal(width(3, 2), WEIGHT[:, :, 0, 0])


def test_more_channels_are_filled_with_zeros():  # eq. 3
    expected = torch.tensor([[11.0, 12.0, 0.0], [21.0, 22.0, 0.0], [31.0, 32.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(width(4, 3), expected)


def test_outputs_and_inputs_may_change_in_opposite_directions():
    assert torch.equal(width(4, 1), torch.tensor([[11.0], [21.0], [31.0], [0.0]]))
    assert torch.equal(width(1, 3), torch.tensor([[11.0, 12.0, 0.0]]))


def test_groups_keep_the_weights_of_their_own_inputs():  # eq. 4
    plain = torch.arange(16.0).reshape(4, 4)[:, :, None, None]  # rows 0..3, 4..7, 8..11, 12..15
    grouped = remap_groups(plain, 1, 2)[:, :, 0, 0]
    assert torch.equal(grouped, torch.tensor([[0.0, 1.0], [4.0, 5.0], [10.0, 11.0], [14.0, 15.0]]))
    assert torch.equal(remap_groups(plain, 1, 4)[:, 0, 0, 0], torch.tensor([0.0, 5.0, 10.0, 15.0]))


def test_groups_of_a_convolution_with_unequal_channels():
    plain = torch.arange(24.0).reshape(6, 4)[:, :, None, None]
    grouped = remap_groups(plain, 1, 2)[:, :, 0, 0]
    expected = [[0.0, 1.0], [4.0, 5.0], [8.0, 9.0], [14.0, 15.0], [18.0, 19.0], [22.0, 23.0]]
    assert torch.equal(grouped, torch.tensor(expected))


def test_a_grouped_convolution_computes_the_same_as_a_plain_one():
    rng = torch.Generator().manual_seed(0)
    grouped, x = torch.randn(8, 3, 3, 3, generator=rng), torch.randn(1, 6, 5, 5, generator=rng)
    plain = remap_groups(grouped, 2, 1)
    assert plain.shape == (8, 6, 3, 3)
    torch.testing.assert_close(F.conv2d(x, plain), F.conv2d(x, grouped, groups=2))
    assert torch.equal(remap_groups(plain, 1, 2), grouped)


def kernel_of(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)[None, None]


THREE = kernel_of([[1, 2, 3], [4, 5, 6], [7, 8, 9]]).float()


def test_a_smaller_kernel_is_the_middle():  # eq. 5
    five = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert torch.equal(remap_kernel(five, 3), kernel_of([[6.0, 7, 8], [11, 12, 13], [16, 17, 18]]))
    assert torch.equal(remap_kernel(five, 1), kernel_of([[12.0]]))


def test_a_larger_kernel_has_the_weight_in_its_middle():  # eq. 6: 1 < h, w <= 4 of 5
    expected = [[0, 0, 0, 0, 0], [0, 1, 2, 3, 0], [0, 4, 5, 6, 0], [0, 7, 8, 9, 0], [0, 0, 0, 0, 0]]
    assert torch.equal(remap_kernel(THREE, 5), kernel_of(expected).float())
    assert torch.equal(remap_kernel(remap_kernel(THREE, 7), 3), THREE)


def test_a_dilated_kernel_is_spread():  # eq. 11: h, w in 1, 3, 5 of 5, and in 1, 4, 7 of 7
    expected = [[1, 0, 2, 0, 3], [0, 0, 0, 0, 0], [4, 0, 5, 0, 6], [0, 0, 0, 0, 0], [7, 0, 8, 0, 9]]
    assert torch.equal(remap_kernel(THREE, 5, "dilate"), kernel_of(expected).float())
    seven = remap_kernel(THREE, 7, "dilate")
    assert torch.equal(seven[:, :, ::3, ::3], THREE)
    assert seven.count_nonzero() == 9


def test_a_kernel_that_cannot_be_spread_evenly_is_refused():
    with pytest.raises(ValueError, match="5x5 kernel"):
        remap_kernel(torch.zeros(1, 1, 5, 5), 7, "dilate")


def test_the_largest_references_are_kept_in_their_order():  # algorithm 1
    kept = top_channels(torch.tensor([0.1, 0.9, 0.3, 0.5]), 2)
    assert kept.source.tolist() == [1, 3]
    assert top_channels(torch.tensor([0.1, 0.9]), 3).source.tolist() == [0, 1, -1]


def test_new_entries_are_filled():
    vector = remap_outputs(torch.tensor([5.0, 6.0]), first_channels(2, 3), new=1.0)
    assert vector.tolist() == [5.0, 6.0, 1.0]


def test_replicas_share_what_is_read_from_them():  # Net2WiderNet
    wider = ChannelMap(torch.tensor([0, 1, 1, 1]))
    read = remap_width(WEIGHT, first_channels(3, 3), wider)[:, :, 0, 0]
    assert torch.equal(read[0], torch.tensor([11.0, 4.0, 4.0, 4.0]))
    drawn = replicated_channels(3, 6, torch.Generator().manual_seed(0)).source
    assert drawn[:3].tolist() == [0, 1, 2]
    assert set(drawn[3:].tolist()) <= {0, 1, 2}
