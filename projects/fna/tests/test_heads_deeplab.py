"""DeepLabv3: torchvision's pyramid on the same weights, the paper's costs, dense inference, odd batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.projects.fna.heads.deeplab import DeepLabV3, separable_conv

CHANNELS = (4, 6, 8, 10)


def small(num_classes: int = 3, **options: object) -> DeepLabV3:
    with forked(0):
        return DeepLabV3(CHANNELS, num_classes, **{"hidden_channels": 8, **options})


def features(count: int = 2) -> dict[int, torch.Tensor]:
    return {3: torch.randn(count, CHANNELS[3], 4, 4, generator=torch.Generator().manual_seed(0))}


def masks(count: int = 2) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [{"segmentation": torch.randint(0, 3, (64, 64), generator=generator).byte()} for _ in range(count)]


class OnFeature(nn.Module):
    def __init__(self, head: DeepLabV3) -> None:
        super().__init__()
        self.head = head

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        return self.head.logits({3: feature})


def test_the_plain_pyramid_is_torchvisions():
    head = small(separable=False).eval()
    reference = ASPP(CHANNELS[3], (6, 12, 18), 8).eval()
    reference.load_state_dict(head.pyramid.state_dict())
    expected = F.conv2d(reference(features()[3]), head.scores.weight, head.scores.bias)
    torch.testing.assert_close(head.logits(features()), expected)


def test_a_separable_convolution_is_the_plain_one_of_the_product():
    """With BN and ReLU of the identity between, pointwise times depthwise is one kernel."""
    layer = separable_conv(5, 7, 6).eval()
    feature = torch.rand(2, 5, 20, 20, generator=torch.Generator().manual_seed(0))
    depthwise, pointwise = layer[0][0].weight.abs(), layer[1][0].weight
    layer[0][0].weight.data = depthwise
    kernel = torch.einsum("oi,ihw->oihw", pointwise[:, :, 0, 0], depthwise[:, 0])
    scale = (1 + layer[0][1].eps) ** -1  # BN's running variance is 1, twice
    expected = (F.conv2d(feature, kernel, padding=6, dilation=6) * scale).relu()
    torch.testing.assert_close(layer(feature), expected)


def test_parameters_and_macs_are_the_papers():
    """FNA++'s Table 2: 2.57 M and 24.52 B at 1024 x 2048, of which MobileNetV2 has 1.811712 M and 19.042 B."""
    with torch.device("meta"):
        num_params = sum(p.numel() for p in DeepLabV3((24, 32, 96, 320), 19).parameters())
    assert 1.811712 + num_params / 1e6 == pytest.approx(2.57, abs=0.005)
    head = OnFeature(DeepLabV3((24, 32, 96, 320), 19))
    positions = 64 * 128
    pooled = 320 * 256
    measured = measured_macs(head, torch.zeros(1, 320, 8, 16))
    assert (measured - pooled) * 64 + pooled == pytest.approx(5.48e9, abs=5e6)
    branches = 320 * 256 + 3 * (9 * 320 + 320 * 256)
    assert measured == positions // 64 * (branches + 5 * 256 * 256 + 256 * 19) + pooled


def test_the_loss_is_the_mean_of_the_images_means_over_labelled_pixels():
    head = small(dropout=0.0)
    targets = masks()
    targets[0]["segmentation"][:, 10:] = 255
    loss = head(features(), (64, 64), targets)["loss_pixel"]
    scores = F.interpolate(head.logits(features()), size=(64, 64), mode="bilinear", align_corners=False)
    expected = [
        F.cross_entropy(one[None], target["segmentation"][None].long(), ignore_index=255)
        for one, target in zip(scores, targets, strict=True)
    ]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


@pytest.mark.parametrize("unknown", ["none", "first", "all"])
def test_every_parameter_has_a_gradient(unknown):
    head = small()
    targets = masks()
    for target in targets[: {"none": 0, "first": 1, "all": 2}[unknown]]:
        target["segmentation"].fill_(255)
    loss = head(features(), (64, 64), targets)["loss_pixel"]
    assert (loss == 0) == (unknown == "all")
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_maps_written_out():
    head = small().eval()
    first, second = head(features(), (64, 64), true_sizes=[(64, 64), (41, 57)])
    scores = F.interpolate(head.logits(features()), size=(64, 64), mode="bilinear", align_corners=False)
    assert first.dtype == torch.uint8
    assert torch.equal(first.long(), scores[0].argmax(dim=0))
    assert torch.equal(second.long(), scores[1].argmax(dim=0)[:41, :57])
    found = head(features(), (64, 64), true_sizes=[(64, 64), (41, 57)], output_sizes=[(64, 64), (123, 100)])
    assert [map_.shape for map_ in found] == [(64, 64), (123, 100)]
    with pytest.raises(ValueError, match="1 output sizes for 2 images"):
        head(features(), (64, 64), output_sizes=[(9, 9)])


def test_classify_gives_probabilities_and_predictions_are_its_classes():
    head = small().eval()
    classified = head.classify(features(), (64, 64))
    for (classes, probabilities), predicted in zip(classified, head(features(), (64, 64)), strict=True):
        assert torch.equal(classes, predicted)
        assert probabilities.min() >= 1 / 3 - 1e-6
        assert probabilities.max() <= 1


def test_options_and_what_does_not_fit():
    head = small(rates=(12, 24, 36), dropout=0.25)
    assert [head.pyramid.convs[i][0][0].dilation for i in (1, 2, 3)] == [(12, 12), (24, 24), (36, 36)]
    assert head.pyramid.project[-1].p == 0.25
    assert (head.target.name, head.paths, head.no_weight_decay()) == ("segmentation", (3,), set())
    with pytest.raises(InputError, match="256 classes do not fit"):
        small(256)
    with pytest.raises(InputError, match="rates"):
        small(rates=())
    with pytest.raises(InputError, match="path 2"):
        DeepLabV3((4, 6, 0, 10), 3, path=2)
    with pytest.raises(InputError, match="at least 2 images"):
        head(features(1), (64, 64), masks(1))
    with pytest.raises(ValueError, match="targets"):
        head(features(), (64, 64))
    assert len(head.eval()(features(1), (64, 64))) == 1
