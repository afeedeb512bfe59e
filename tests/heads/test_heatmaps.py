"""Heatmaps: their closed form, their error, and keypoints read back from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fbnetv5.base.seeding import generator
from fbnetv5.heads.simple_baseline.head import SimpleBaseline
from fbnetv5.heads.simple_baseline.heatmaps import decode, decode_covered, gaussian_maps, heatmap_loss

SIZE = (64, 96)  # height, width in pixels; maps of stride 4 have 16 x 24 cells
MAPS = (16, 24)


def random_points(count: int, *, border: float = 0.0) -> Tensor:
    span = torch.tensor([SIZE[1] - 2 * border, SIZE[0] - 2 * border])
    return border + torch.rand(count, 2, generator=generator(0)) * span


def test_a_gaussian_in_closed_form():
    (maps,) = gaussian_maps(torch.tensor([[30.0, 20.0]]), SIZE, MAPS, sigma=2.0)
    for row, column in ((0, 0), (4, 7), (5, 7), (15, 23)):
        x, y = 4 * (column + 0.5), 4 * (row + 0.5)  # pixels
        expected = math.exp(-((x - 30) ** 2 + (y - 20) ** 2) / (2 * 8**2))
        assert maps[row, column].item() == pytest.approx(expected, rel=1e-5)


def test_a_gaussian_has_the_height_1_at_its_centre_and_the_stated_mass():
    (maps,) = gaussian_maps(torch.tensor([[50.0, 34.0]]), SIZE, MAPS, sigma=2.0)
    assert maps.max() == 1
    assert maps.argmax() == 8 * 24 + 12
    assert maps.square().sum().item() == pytest.approx(math.pi * 2**2, rel=1e-3)


def test_points_are_read_back_to_a_quarter_of_a_cell():
    points = random_points(200, border=8)
    found = decode(gaussian_maps(points, SIZE, MAPS), SIZE, SIZE, SIZE)
    errors = (found[:, :2] - points).abs()
    assert errors.max() <= 1.0 + 1e-4  # pixels, of 4 a cell
    assert errors.max() > 0.9  # where a point lies between two cells
    assert found[:, 2].min() > 0.9


def test_the_quarter_towards_the_higher_neighbour():
    maps = torch.zeros(2, 5, 5)
    maps[0, 2, 2], maps[0, 2, 3], maps[0, 1, 2] = 0.9, 0.5, 0.3
    maps[1, 0, 4] = 0.4  # at the border nothing is added
    found = decode(maps, (20, 20), (20, 20), (20, 20))
    expected = torch.tensor([[4 * (2.5 + 0.25), 4 * (2.5 - 0.25), 0.9], [4 * 4.5, 4 * 0.5, 0.4]])
    torch.testing.assert_close(found, expected)


def test_keypoints_are_in_the_pixels_of_the_stored_image_and_never_in_the_padding():
    points = torch.tensor([[30.0, 20.0], [90.0, 60.0]])
    maps = gaussian_maps(points, SIZE, MAPS)
    found = decode(maps, SIZE, (32, 48), (64, 144))  # resized to 32 x 48 from 64 x 144
    assert found[0, :2].tolist() == pytest.approx([30 * 3, 20 * 2], abs=3)
    assert found[1, 0] <= 144
    assert found[1, 1] <= 64


def test_the_loss_is_simple_baselines_but_for_a_constant():
    maps = torch.randn(2, 3, *MAPS, generator=generator(1))
    keypoints = torch.cat([random_points(6), torch.tensor([1.0, 2, 0, 2, 0, 1])[:, None]], 1).reshape(2, 3, 3)
    targets = [{"keypoints": one} for one in keypoints]
    truth = gaussian_maps(keypoints[..., :2], SIZE, MAPS)
    weights = (keypoints[..., 2] > 0).float()[..., None, None]
    criterion = torch.nn.MSELoss()  # as its JointsMSELoss does
    theirs = sum(0.5 * criterion(maps[:, k] * weights[:, k], truth[:, k] * weights[:, k]) for k in range(3)) / 3
    cells = MAPS[0] * MAPS[1]
    torch.testing.assert_close(
        heatmap_loss(maps, targets, "keypoints", SIZE), theirs * 2 * cells / (math.pi * 2**2), rtol=1e-4, atol=1e-5
    )


def test_unlabelled_keypoints_have_no_gradient():
    maps = torch.zeros(1, 2, *MAPS, requires_grad=True)
    keypoints = torch.tensor([[48.0, 32, 2], [0, 0, 0]])
    loss = heatmap_loss(maps, [{"keypoints": keypoints}], "keypoints", SIZE)
    loss.backward()
    assert loss.item() == pytest.approx(0.5, rel=1e-3)  # one of two is labelled; maps of zeros have an error of 1
    assert maps.grad[0, 0].ne(0).any()
    assert maps.grad[0, 1].eq(0).all()
    nobody = heatmap_loss(maps, [{"keypoints": torch.zeros(2, 3)}], "keypoints", SIZE)
    assert nobody == 0


def test_the_head_of_the_paper():
    head = SimpleBaseline((0, 0, 0, 320), 16)
    shapes = {name: tuple(weight.shape) for name, weight in head.named_parameters() if weight.ndim == 4}
    assert list(shapes.values()) == [(320, 256, 4, 4), (256, 256, 4, 4), (256, 256, 4, 4), (16, 256, 1, 1)]
    deconvs = 16 * 256 * (320 * 8 * 8 + 256 * 16 * 16 + 256 * 32 * 32)
    assert head.macs([(64, 64), (32, 32), (16, 16), (8, 8)]) == deconvs + 64 * 64 * 256 * 16
    # MobileNetV2 without its last layers has 1.81 M parameters: 5.23 M in FNA++, Table 6
    assert 1.812 + sum(p.numel() for p in head.parameters()) / 1e6 == pytest.approx(5.23, abs=0.01)


@pytest.mark.parametrize("true_size", [SIZE, (37, 96), (64, 50), (3, 2)])
@pytest.mark.parametrize("levels", [4, None])  # as int8 has them: many cells are as high as the highest
def test_keypoints_are_decoded_in_fixed_sizes_as_they_are_otherwise(true_size: tuple[int, int], levels: int | None):
    maps = torch.randn(200, *MAPS, generator=generator(3))
    if levels is not None:
        maps = (maps * levels).round() / levels
    expected = decode(maps, SIZE, true_size, true_size)
    found = decode_covered(maps, SIZE, torch.tensor(true_size).float())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("map_size", [(1, 1), (2, 7), (5, 2)])
def test_small_maps_are_decoded_in_fixed_sizes(map_size: tuple[int, int]):
    maps = torch.rand(50, *map_size, generator=generator(4))
    found = decode_covered(maps, SIZE, torch.tensor(SIZE).float())
    torch.testing.assert_close(found, decode(maps, SIZE, SIZE, SIZE))
