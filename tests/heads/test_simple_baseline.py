"""SimpleBaseline: shapes, losses, predictions in stored pixels, measured cost."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked, generator
from fbnetv5.heads.simple_baseline.head import SimpleBaseline
from fbnetv5.heads.simple_baseline.heatmaps import gaussian_maps

CHANNELS = (4, 6, 8, 10)


def head(**options):
    with forked(0):
        return SimpleBaseline(CHANNELS, 3, **({"path": 2, "num_deconvs": 2, "hidden_channels": 8} | options))


def features(count=2, size=(4, 6)):
    return {2: torch.randn(count, CHANNELS[2], *size, generator=generator(1))}


def test_it_learns_keypoints():
    model = head(sigma=1.0)
    feature, targets = features(), [{"keypoints": torch.tensor([[20.0, 30, 2], [70, 10, 1], [0, 0, 0]])}] * 2
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    first = None
    for _ in range(120):
        losses = model(feature, (64, 96), targets)
        assert set(losses) == {"loss_heatmap"}
        first = first or losses["loss_heatmap"].item()
        optimizer.zero_grad()
        losses["loss_heatmap"].backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    assert first == pytest.approx(2 / 3, rel=0.05)  # maps of about 0; two of three are labelled
    assert losses["loss_heatmap"] < 0.1
    model.eval()
    found = model(feature, (64, 96))
    assert len(found) == 2
    assert (found[0][:2, :2] - targets[0]["keypoints"][:2, :2]).abs().max() < 4
    (smaller, _) = model(feature, (64, 96), true_sizes=[(64, 96), (64, 96)], output_sizes=[(128, 288), (64, 96)])
    torch.testing.assert_close(smaller, found[0] * torch.tensor([3.0, 2, 1]))


def test_maps_have_twice_the_resolution_a_deconvolution():
    for count in range(4):
        maps = head(num_deconvs=count)
        assert maps.heatmaps(maps.deconvs(features()[2])).shape == (2, 3, 4 * 2**count, 6 * 2**count)


def test_macs_are_those_measured():
    model = head()
    feature = features(1)[2]
    measured = measured_macs(torch.nn.Sequential(model.deconvs, model.heatmaps), feature)
    assert model.macs([(16, 24), (8, 12), (4, 6), (2, 3)]) == measured


def test_training_needs_targets_and_options_are_checked():
    with pytest.raises(ValueError, match="targets"):
        head()(features(), (64, 96))
    for options in ({"num_deconvs": -1}, {"hidden_channels": 0}, {"sigma": 0.0}):
        with pytest.raises(InputError, match="num_deconvs"):
            head(**options)
    with pytest.raises(InputError, match="path 4"):
        head(path=4)


def test_a_keypoint_is_decoded_as_it_is_encoded():
    model = head().eval()
    model.deconvs, model.heatmaps = torch.nn.Identity(), torch.nn.Identity()
    points = torch.tensor([[20.5, 30.25], [70, 10], [40, 40]])
    (found,) = model({2: gaussian_maps(points, (64, 96), (16, 24))[None]}, (64, 96))
    assert (found[:, :2] - points).abs().max() <= 1
