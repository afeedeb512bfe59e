"""Monocular depth: its error in closed form, unknown pixels, and a head that learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.seeding import generator
from fbnetv5.tasks.depth import Depth, relative_error

CHANNELS = (4, 6, 8, 10)
NAN = float("nan")


def maps(seed: int, *size: int) -> Tensor:
    return torch.rand(size, generator=generator(seed), dtype=torch.float64)


def feature(count: int = 2, size: int = 8) -> dict[int, Tensor]:
    return {1: torch.randn(count, CHANNELS[1], size, size, generator=generator(0))}


def test_the_error_is_that_of_a_truth_of_mean_0_and_deviation_1() -> None:
    truth = torch.tensor([[0.0, 1.0, 5.0]])  # mean 2, deviation (14 / 3) ** 0.5
    prediction = torch.tensor([[3.0, 1.0, 2.0]])
    expected = [depth / (14 / 3) ** 0.5 for depth in (-2, -1, 3)]
    errors = [abs(own - other) for own, other in zip((3, 1, 2), expected, strict=True)]
    assert relative_error(prediction, truth).item() == pytest.approx(sum(errors) / 3)


def test_the_unit_of_the_truth_does_not_matter() -> None:
    prediction, truth = maps(1, 9, 7), maps(2, 9, 7)
    torch.testing.assert_close(relative_error(prediction, 1000 * truth + 5), relative_error(prediction, truth))
    assert relative_error(prediction, -truth) != relative_error(prediction, truth)


def test_unknown_pixels_do_not_count() -> None:
    prediction, truth = maps(1, 6, 5).requires_grad_(), maps(2, 6, 5)
    truth[2:4, 1:] = NAN
    known = truth.isfinite()
    error = relative_error(prediction, truth)
    error.backward()
    torch.testing.assert_close(error, relative_error(prediction[known][None], truth[known][None]))
    assert prediction.grad is not None
    assert prediction.grad[~known].eq(0).all()
    assert prediction.grad[known].isfinite().all()
    assert prediction.grad[known].ne(0).any()


def test_a_map_without_a_known_pixel_has_no_gradient() -> None:
    prediction = maps(1, 4, 4).requires_grad_()
    value = relative_error(prediction, torch.full((4, 4), NAN))
    value.backward()
    assert value == 0
    assert prediction.grad is not None
    torch.testing.assert_close(prediction.grad, torch.zeros_like(prediction))


@pytest.mark.parametrize("depth", [0.0, 7.0])
def test_a_map_of_a_single_depth_is_0_everywhere(depth: float) -> None:
    prediction = maps(1, 4, 4)
    torch.testing.assert_close(relative_error(prediction, torch.full((4, 4), depth)), prediction.mean())


@pytest.mark.parametrize("depth", [2.37, 65.535])
@pytest.mark.parametrize("side", [96, 224])
def test_a_map_of_a_single_depth_is_not_divided_by_what_rounding_leaves(depth: float, side: int) -> None:
    truth = torch.full((side, side), depth)
    truth[: side // 3] = torch.nan
    assert relative_error(torch.zeros(side, side), truth) < 1e-3


def test_a_prediction_of_a_single_depth_has_a_finite_gradient() -> None:
    prediction = torch.ones(4, 4, dtype=torch.float64, requires_grad=True)
    relative_error(prediction, maps(1, 4, 4)).backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


def test_the_loss_is_the_mean_over_images() -> None:
    head = Depth().search_head(CHANNELS, ())
    features, truths = feature(), maps(3, 2, 64, 64).float()
    truths[0, 8:] = NAN  # the first image counts as much as the second, though fewer of its pixels do
    loss = head(features, (64, 64), [{"depth": truth} for truth in truths])
    predicted = F.interpolate(head.depth(head.norm(features[1])), size=(64, 64), mode="bilinear", align_corners=False)
    errors = [relative_error(own[0], truth) for own, truth in zip(predicted, truths, strict=True)]
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_images_without_a_known_pixel_give_every_parameter_a_gradient() -> None:
    head = Depth().search_head(CHANNELS, ())
    loss = head(feature(), (64, 64), [{"depth": torch.full((64, 64), NAN)}] * 2)
    loss.backward()
    assert loss == 0
    assert all(parameter.grad is not None and parameter.grad.eq(0).all() for parameter in head.parameters())


def test_it_learns_what_its_feature_shows() -> None:
    features = feature(4)
    depths = F.interpolate(features[1][:, :1] - features[1][:, 2:3], size=(64, 64), mode="bilinear")[:, 0]
    targets = [{"depth": 50 + 20 * depth} for depth in depths]
    torch.manual_seed(0)
    head = Depth().search_head(CHANNELS, ())
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = head(features, (64, 64), targets)
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[0] > 0.5
    assert errors[-1] < 0.2
