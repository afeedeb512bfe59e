"""PSPNet: pooling by hand, the loss by hand, predictions in the pixels of the stored image; and several scales."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from fbnetv5.projects.fpnas.heads.psp import PSPNet, PyramidPooling, pixel_loss
from fbnetv5.projects.fpnas.multi_scale import MultiScaleNet
from fbnetv5.projects.fpnas.tests.test_network import TINY

CHANNELS = (8, 16, 24, 32)
FEATURES = {2: (2, 24, 6, 5), 3: (2, 32, 6, 5)}


def head(**options: object) -> PSPNet:
    return PSPNet(CHANNELS, 3, hidden_channels=4, **options)  # type: ignore[arg-type]


def features() -> dict[int, torch.Tensor]:
    return {path: torch.randn(shape) for path, shape in FEATURES.items()}


def segmenter() -> TaskNet:
    spec = ModelSpec(
        family=None,
        topology=None,
        head={"_target_": "fbnetv5.projects.fpnas.heads.psp.PSPNet", "hidden_channels": 8},
        classes=("sky", "road", "car"),
        input=InputSpec(short_side=32, multiple=32),
        network={
            "_target_": "fbnetv5.projects.fpnas.network.FPNASNetwork",
            "architecture": TINY.as_dict(),
            "output_stride": 8,
        },
    )
    return build_model(spec).eval()


def test_pooling_is_the_average_over_grids():
    """Quadrants of 1, 2, 3 and 4: the mean is 2.5, and a grid of 2 x 2 gives them back."""
    pyramid = PyramidPooling(1, 1, (1, 2)).eval()
    for level in pyramid.levels:
        nn.init.ones_(level[1][0].weight)
    quadrants = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    feature = quadrants.repeat_interleave(2, 2).repeat_interleave(2, 3)
    feature_out, whole, grid = pyramid(feature)[0]
    scale = 1 / math.sqrt(1 + 1e-5)  # of batch normalisation, in evaluation and untrained
    torch.testing.assert_close(feature_out, feature[0, 0])
    torch.testing.assert_close(whole, torch.full((4, 4), 2.5 * scale))
    bilinear = F.interpolate(quadrants, size=(4, 4), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(grid, bilinear * scale)
    assert grid[0].tolist() == pytest.approx([scale * value for value in (1.0, 1.25, 1.75, 2.0)])


def test_the_head_has_the_sizes_of_semantic_segmentation_pytorch():
    """PPMDeepsup(fc_dim=320): four levels of 512, 3x3 to 512, 1x1; 3x3 to fc_dim / 4 and 1x1 for deep supervision."""
    psp = PSPNet((24, 32, 160, 320), 150)
    sizes = [tuple(module.weight.shape) for module in psp.modules() if isinstance(module, nn.Conv2d)]
    assert sizes == [
        *[(512, 320, 1, 1)] * 4,
        (512, 320 + 4 * 512, 3, 3),
        (150, 512, 1, 1),
        (80, 160, 3, 3),
        (150, 80, 1, 1),
    ]
    assert psp.aux_weight == 0.4


def test_the_loss_is_that_of_the_nearest_pixels_that_have_a_class():
    logits = torch.randn(2, 3, 2, 2)
    masks = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    masks[0, :2, :2], masks[1, 2:, 2:] = 2, 1
    expected = -(logits[0, :, 0, 0].log_softmax(0)[2] + logits[1, :, 1, 1].log_softmax(0)[1]) / 2
    torch.testing.assert_close(pixel_loss(logits, masks), expected)


def test_deep_supervision_weighs_less():
    torch.manual_seed(0)
    psp, seen = head(aux_weight=0.4, dropout=0.0), features()
    targets = [{"segmentation": torch.randint(3, (24, 20), dtype=torch.uint8)} for _ in range(2)]
    losses = psp(seen, (24, 20), targets)
    assert set(losses) == {"loss_pixels", "loss_aux"}
    masks = torch.stack([target["segmentation"] for target in targets])
    torch.testing.assert_close(losses["loss_aux"], 0.4 * pixel_loss(psp.aux_scores(seen[2]), masks))
    assert set(head(aux_path=None)(seen, (24, 20), targets)) == {"loss_pixels"}


def test_without_a_labelled_pixel_losses_are_zero_and_have_gradients():
    psp = head()
    targets = [{"segmentation": torch.full((24, 20), 255, dtype=torch.uint8)}] * 2
    losses = psp(features(), (24, 20), targets)
    sum(losses.values()).backward()
    assert all(loss.item() == 0 for loss in losses.values())
    assert all(parameter.grad is not None for parameter in psp.parameters())


def test_one_image_at_a_time_is_refused_in_training():
    one = {path: feature[:1] for path, feature in features().items()}
    with pytest.raises(InputError, match=r"two images at a time or more; raise train\.batch_size"):
        head()(one, (24, 20), [{"segmentation": torch.zeros(24, 20, dtype=torch.uint8)}])


def test_maps_have_the_stored_size_and_the_padding_is_cut():
    psp, seen = head().eval(), features()
    maps = psp(seen, (24, 20), true_sizes=[(24, 20), (17, 13)], output_sizes=[(48, 40), (17, 13)])
    assert [tuple(one.shape) for one in maps] == [(48, 40), (17, 13)]
    assert maps[0].dtype == torch.uint8
    probabilities = psp.probabilities(seen, (24, 20), [(24, 20), (17, 13)])
    torch.testing.assert_close(probabilities[1].sum(0), torch.ones(17, 13))
    assert torch.equal(maps[1], probabilities[1].argmax(0).to(torch.uint8))


@pytest.mark.parametrize(
    ("options", "message"), [({"bins": ()}, "should be sides of grids"), ({"path": 4}, "path 4 is out of range")]
)
def test_wrong_options_are_said(options: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        head(**options)
    with pytest.raises(InputError, match="256 classes do not fit"):
        PSPNet(CHANNELS, 256)


def test_one_scale_is_the_model_itself():
    torch.manual_seed(0)
    model = segmenter()
    images = torch.randn(2, 3, 32, 64)
    sizes, stored = [(32, 64), (32, 45)], [(40, 80), (64, 90)]
    images[1, :, :, 45:] = 0  # the padding
    single = MultiScaleNet(model, [32], None)
    for one, other in zip(single(images, None, sizes, stored), model(images, None, sizes, stored), strict=True):
        assert torch.equal(one, other)


def test_several_scales_are_averaged():
    torch.manual_seed(0)
    model = segmenter()
    network = MultiScaleNet(model, [32, 64], 100)
    assert network.spec.input == replace(model.spec.input, short_side=64, long_side=100)
    image = torch.randn(1, 3, 64, 96)
    small = F.interpolate(image, size=(32, 48), mode="bilinear", antialias=True)
    expected = torch.zeros(3, 64, 96)
    for scaled, padded in ((image, (64, 96)), (small, (32, 64))):
        height, width = scaled.shape[-2:]
        features = model.network(F.pad(scaled, (0, padded[1] - width)))
        (probabilities,) = model.head.probabilities(features, padded, [(height, width)])  # type: ignore[attr-defined]
        expected += F.interpolate(probabilities[None], size=(64, 96), mode="bilinear")[0] / 2
    torch.testing.assert_close(network._average(image[0], (128, 192)), expected)
    assert torch.equal(network(image, None, [(64, 96)], [(64, 96)])[0], expected.argmax(0).to(torch.uint8))


def test_costs_of_several_scales_add_up():
    model = segmenter()
    both = MultiScaleNet(model, [32, 64], None).cost((64, 64)).macs
    assert both == model.cost((64, 64)).macs + model.cost((32, 32)).macs


def test_a_head_without_probabilities_is_refused():
    model = segmenter()
    model.head = nn.Identity()
    with pytest.raises(InputError, match="the head Identity has no probabilities"):
        MultiScaleNet(model, [32], None)
