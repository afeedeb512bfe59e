"""Layers that ExecuTorch's int8 has to be told more about than others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.export.executorch import mean_range_observer, quantised_pt2e, to_executorch
from fbnetv5.export.runtime import RUNTIMES
from tests.on_request import ON_REQUEST

pytest.importorskip("executorch", reason="the export extra is not installed")
SIZE = (16, 24)


class Levels(nn.Module):
    """One convolution with a bias, on two levels of a pyramid whose values differ in size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = self.stem(image)
        coarse = 0.1 * F.avg_pool2d(fine, 2)
        return {"fine": self.shared(fine), "coarse": self.shared(coarse)}


class Halves(nn.Module):
    """Half of the channels pass by a convolution and are set beside its result, whose values are larger."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.last = (nn.Conv2d(*pair, 3, padding=1) for pair in ((3, 8), (4, 4), (8, 8)))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        feature = self.stem(image)
        return {"feature": self.last(torch.cat([feature[:, 4:], self.left(feature[:, :4])], dim=1))}


class Squeezed(nn.Module):
    """Positive values beside their mean, which is far below the largest of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        feature = F.relu(self.stem(image))
        return {"feature": feature, "gate": self.last(feature.mean((2, 3), keepdim=True))}


class Whole(nn.Module):
    """A part of a model by the name that is quantised."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.network = nn.ModuleList([part])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.network[0](image)
        return outputs


@pytest.mark.slow
@pytest.mark.parametrize("part", [Levels, pytest.param(Halves, marks=ON_REQUEST)])
@torch.no_grad()
def test_int8_is_close_to_float(part: type[nn.Module], tmp_path: Path):
    torch.manual_seed(0)
    model = Whole(part()).eval()
    image, file = torch.randn(1, 3, *SIZE), tmp_path / "model.pte"
    quantised = quantised_pt2e(model, [image], [])
    file.write_bytes(to_executorch(quantised, SIZE).data)
    for expected, found in zip(model(image).values(), RUNTIMES["executorch"](file, 1).runner(image), strict=True):
        assert 0 < (found - expected).abs().mean() < 0.1 * expected.std()


@pytest.mark.parametrize("place", [pytest.param(0, marks=ON_REQUEST), 15, pytest.param(31, marks=ON_REQUEST)])
@torch.no_grad()
def test_one_strange_image_does_not_set_the_ranges(place: int):
    torch.manual_seed(0)
    model = Whole(Levels()).eval()
    images = [torch.randn(1, 3, *SIZE) for _ in range(32)]
    image = images[7]
    images[place] = 100 * images[place]
    quantised = quantised_pt2e(model, images, [])
    for expected, found in zip(model(image).values(), quantised(image).values(), strict=True):
        assert (found - expected).abs().mean() < 0.1 * expected.std()


def test_a_range_is_the_mean_over_images_of_that_of_all_tensors_in_one_scale():
    observer = mean_range_observer()(dtype=torch.int8, quant_min=-128, quant_max=127)
    for tensors in ([[0.0, 8.0], [0.0, 1.0]], [[0.0, 4.0], [-2.0, 6.0]]):
        observer.begin_image()
        for values in tensors:
            observer(torch.tensor(values))
    scale, zero_point = observer.calculate_qparams()
    assert scale.item() == pytest.approx((7 - -1) / 255)
    assert zero_point.item() == round(-128 + 1 / scale.item())


@torch.no_grad()
def test_values_are_not_clipped_by_the_range_of_their_mean():
    torch.manual_seed(0)
    model, image = Whole(Squeezed()).eval(), torch.randn(1, 3, *SIZE)
    expected, found = (each(image)["feature"] for each in (model, quantised_pt2e(model, [image], [])))
    assert (found - expected).abs().max() < 0.05 * expected.max()
