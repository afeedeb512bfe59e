"""SSDLite: torchvision's own on the same weights, its default boxes, the paper's parameters, odd batches."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead, ssdlite320_mobilenet_v3_large

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.projects.fna.heads.detections import images_of_sizes
from fbnetv5.projects.fna.heads.ssdlite import SSDLite, extra_level

CHANNELS = (4, 6, 8, 10)
SIDE = 320
LEVELS = [(16, 20), (12, 10), (8, 5), (8, 3), (6, 2), (6, 1)]  # channels and side of each
SMALL = {"expansion": 2, "last_channels": 12, "extra_channels": (8, 8, 6, 6)}
RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]


def small(num_classes: int = 3, **options: object) -> SSDLite:
    with forked(0):
        return SSDLite(CHANNELS, num_classes, **{**SMALL, **options})


def features(count: int = 2, size: tuple[int, int] = (SIDE, SIDE)) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = {path: [-(-side // (4 * 2**path)) for side in size] for path in (2, 3)}
    return {path: torch.randn(count, CHANNELS[path], *sides[path], generator=generator) for path in sides}


def boxes(*rows: list[float], label: int = 0) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(rows).reshape(-1, 4), "box_labels": torch.full((len(rows),), label)}


class Given(nn.Module):
    """A backbone of torchvision's SSD that returns the levels of a head here."""

    def __init__(self, head: SSDLite) -> None:
        super().__init__()
        self.levels: list[torch.Tensor] = []
        head.detector.head.register_forward_hook(lambda _m, inputs, _o: setattr(self, "levels", inputs[0]))

    def forward(self, _images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {str(i): level for i, level in enumerate(self.levels)}


class UnchangedImages(nn.Module):
    """In the place of torchvision's resizing."""

    def forward(self, images: list[torch.Tensor], targets: object) -> tuple[ImageList, object]:
        return ImageList(torch.stack(images), [(SIDE, SIDE)] * len(images)), targets

    def postprocess(self, detections: list, *_sizes: object) -> list:
        return detections


def torchvisions(head: SSDLite, **options: float) -> SSD:
    """torchvision's SSD on default boxes as its users make them, with the weights of ``head``."""
    generator = DefaultBoxGenerator(RATIOS, min_ratio=0.2, max_ratio=0.95)
    predictors = SSDLiteHead(
        [channels for channels, _ in LEVELS], generator.num_anchors_per_location(), 4, partial(nn.BatchNorm2d, eps=1e-3)
    )
    predictors.load_state_dict(head.detector.head.state_dict())
    model = SSD(Given(head), generator, (SIDE, SIDE), 4, head=predictors, nms_thresh=0.6, **options)
    model.transform = UnchangedImages()
    return model


def test_losses_are_torchvisions():
    head = small()
    reference = torchvisions(head).train()
    targets = [boxes([4.0, 4.0, 90.0, 80.0], [100.0, 20.0, 300.0, 290.0], label=2), boxes()]
    losses = head(features(), (SIDE, SIDE), targets)
    truth = [{"boxes": t["boxes"], "labels": t["box_labels"] + 1} for t in targets]
    expected = reference([torch.zeros(3, SIDE, SIDE)] * 2, truth)
    assert losses["loss_classifier"].item() == pytest.approx(expected["classification"].item(), rel=1e-4)
    assert losses["loss_box_reg"].item() == pytest.approx(expected["bbox_regression"].item(), rel=1e-4)
    assert losses["loss_box_reg"] > 0


def test_detections_are_torchvisions():
    head = small(score_threshold=0.0).eval()
    reference = torchvisions(head, score_thresh=0.0).eval()
    found = head(features(), (SIDE, SIDE))
    expected = reference([torch.zeros(3, SIDE, SIDE)] * 2)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours["boxes"]) == 200
        torch.testing.assert_close(ours["boxes"], theirs["boxes"], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(ours["scores"], theirs["scores"])
        assert torch.equal(ours["box_labels"] + 1, theirs["labels"])


def test_levels_of_320_pixels_are_the_papers():
    """Of (576, 1280, 512, 256, 256, 128) channels; strides 16, 32, 64, 107, 160, 320; 4 or 6 boxes (FNA's code)."""
    head = SSDLite((24, 32, 96, 320), 80).eval()
    seen = []
    head.detector.head.register_forward_hook(lambda _m, inputs, _o: seen.extend(level.shape for level in inputs[0]))
    head({2: torch.zeros(1, 96, 20, 20), 3: torch.zeros(1, 320, 10, 10)}, (SIDE, SIDE))
    assert [shape[1] for shape in seen] == [576, 1280, 512, 256, 256, 128]
    assert [shape[2] for shape in seen] == [side for _, side in LEVELS]
    generator = head.detector.anchor_generator
    assert [round(step) for step in generator.steps] == [16, 32, 64, 107, 160, 320]
    assert generator.num_anchors_per_location() == [4, 6, 6, 6, 4, 4]
    assert head.detector.box_coder.weights == (10, 10, 5, 5)


def test_parameters_are_the_papers():
    """FNA++'s Table 4 has 4.3 M, MobileNetV2's 1.811712 M in it; the head's own expansion is not."""
    with torch.device("meta"):
        head = SSDLite((24, 32, 96, 320), 80)
    own = sum(p.numel() for p in head.parameters()) - sum(p.numel() for p in head.expand[0].parameters())
    assert 1.811712 + own / 1e6 == pytest.approx(4.3, abs=0.05)


def test_extra_levels_are_torchvisions():
    with torch.device("meta"):
        reference = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2).backbone.extra
        assert [p.shape for p in extra_level(512, 256).parameters()] == [p.shape for p in reference[1].parameters()]
    level = extra_level(8, 6)
    assert [layer[0].stride for layer in level] == [(1, 1), (2, 2), (1, 1)]
    assert level.eval()(torch.zeros(1, 8, 5, 4)).shape == (1, 6, 3, 2)


def test_default_boxes_keep_their_pixels_in_images_of_other_shapes():
    """Squares at the first level's distances, wherever the image ends."""
    generator = small().detector.anchor_generator
    images = images_of_sizes(torch.zeros(()), (SIDE, SIDE), [(SIDE, SIDE)])
    coarser = [torch.zeros(1, 1, side, side) for side in (10, 5, 3, 2, 1)]
    square, wide = (generator(images, [torch.zeros(1, 1, 20, width), *coarser])[0] for width in (20, 27))
    first = square[: 4 * 20 * 20].unflatten(0, (20, 20, 4))
    wider = wide[: 4 * 20 * 27].unflatten(0, (20, 27, 4))
    torch.testing.assert_close(wider[:, :20], first)
    torch.testing.assert_close(first[0, 0, 0], torch.tensor([8 - 32.0, 8 - 32, 8 + 32, 8 + 32]))  # 0.2 of 320
    torch.testing.assert_close(wider[0, 26, 0], torch.tensor([26 * 16 + 8 - 32.0, 8 - 32, 26 * 16 + 8 + 32, 8 + 32]))


@pytest.mark.parametrize("empty", ["none", "first", "all"])
def test_trains_with_and_without_boxes(empty):
    head = small()
    targets = [boxes([4.0, 4.0, 90.0, 80.0]), boxes([100.0, 30.0, 190.0, 260.0], label=1)]
    for position in {"none": [], "first": [0], "all": [0, 1]}[empty]:
        targets[position] = boxes()
    losses = head(features(), (SIDE, SIDE), targets)
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses["loss_classifier"] == 0) == (empty == "all")
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_boxes_are_on_the_stored_images():
    head = small(score_threshold=0.0).eval()
    size, sizes, stored = (256, 352), [(240, 352), (256, 200)], [(480, 352 * 3), (256, 200)]
    seen, wanted = (head(features(size=size), size, true_sizes=sizes, output_sizes=o) for o in (None, stored))
    for (height, width), found in zip(sizes, seen, strict=True):
        assert found["boxes"][:, 0::2].max() <= width
        assert found["boxes"][:, 1::2].max() <= height
        assert set(found["box_labels"].tolist()) <= {0, 1, 2}
    torch.testing.assert_close(wanted[0]["boxes"], seen[0]["boxes"] * torch.tensor([3.0, 2, 3, 2]))


def test_half_precision_and_what_does_not_change():
    head = small()
    with torch.autocast("cpu", torch.bfloat16):
        losses = head(features(), (SIDE, SIDE), [boxes([4.0, 4.0, 90.0, 80.0])] * 2)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert (head.target.name, head.paths, head.no_weight_decay()) == ("boxes", (2, 3), set())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aspect_ratios": ((2,), (2, 3))}, "2 lists for SSDLite's 6 levels"),
        ({"extra_channels": (8, 8)}, "6 lists for SSDLite's 4 levels"),
        ({"scales": (0.5, 0.2)}, "two ascending numbers"),
        ({"size": 8}, "at least 16 pixels"),
        ({"paths": (1, 3)}, "follow one another"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        small(**options)


def test_a_batch_of_one_and_dilated_features_are_refused():
    with pytest.raises(InputError, match="at least 2 images"):
        small()(features(1), (SIDE, SIDE), [boxes()])
    with pytest.raises(InputError, match="stride 32 on path 3"):
        small()({**features(), 3: torch.zeros(2, CHANNELS[3], 20, 20)}, (SIDE, SIDE), [boxes()] * 2)
    with pytest.raises(ValueError, match="targets"):
        small()(features(), (SIDE, SIDE))
