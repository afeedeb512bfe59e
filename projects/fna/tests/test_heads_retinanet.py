"""RetinaNet: torchvision's own on the same weights, the paper's parameters, odd batches."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.projects.fna.heads.retinanet import LevelAnchors, RetinaNet

CHANNELS = (4, 6, 8, 10)
SIDE = 128
LOSSES = {"loss_classifier", "loss_box_reg"}


def small(num_classes: int = 3, **options: object) -> RetinaNet:
    with forked(0):
        return RetinaNet(CHANNELS, num_classes, **{"hidden_channels": 12, **options})


def features(count: int = 2, side: int = SIDE) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = {path: -(-side // (4 * 2**path)) for path in (1, 2, 3)}
    return {path: torch.randn(count, CHANNELS[path], size, size, generator=generator) for path, size in sizes.items()}


def boxes(*rows: list[float], label: int = 0) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(rows).reshape(-1, 4), "box_labels": torch.full((len(rows),), label)}


class GivenPyramid(nn.Module):
    """torchvision's pyramid on features that are not computed from its images."""

    out_channels = 12

    def __init__(self) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork([6, 8, 10], 12, extra_blocks=LastLevelP6P7(10, 12))

    def forward(self, _images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        levels: OrderedDict[str, torch.Tensor] = self.fpn(OrderedDict((str(p), f) for p, f in features().items()))
        return levels


class UnchangedImages(nn.Module):
    """In the place of torchvision's resizing."""

    def forward(self, images: list[torch.Tensor], targets: object) -> tuple[ImageList, object]:
        return ImageList(torch.stack(images), [(SIDE, SIDE)] * len(images)), targets

    def postprocess(self, detections: list, *_sizes: object) -> list:
        return detections


def torchvisions(head: RetinaNet) -> detection.RetinaNet:
    """torchvision's RetinaNet as its users build it, with the weights of ``head``."""
    pyramid = GivenPyramid()
    model = detection.RetinaNet(pyramid, 3, head=RetinaNetHead(12, 9, 3), detections_per_img=100)
    model.transform = UnchangedImages()
    pyramid.fpn.load_state_dict(head.detector.backbone.state_dict())
    model.head.load_state_dict(head.detector.head.state_dict())
    return model


def test_losses_are_torchvisions():
    head = small()
    reference = torchvisions(head)
    targets = [boxes([4.0, 4.0, 60.0, 40.0], [30.0, 20.0, 70.0, 90.0], label=2), boxes()]
    truth = [{"boxes": t["boxes"], "labels": t["box_labels"]} for t in targets]
    expected = reference.train()([torch.zeros(3, SIDE, SIDE)] * 2, truth)
    losses = head(features(), (SIDE, SIDE), targets)
    assert set(losses) == LOSSES
    assert losses["loss_classifier"].item() == pytest.approx(expected["classification"].item(), rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(expected["bbox_regression"].item(), rel=1e-5)
    assert losses["loss_box_reg"] > 0


def test_detections_are_torchvisions():
    head = small(score_threshold=0.0).eval()
    for layer in (head.detector.head.classification_head.cls_logits, head.detector.head.regression_head.bbox_reg):
        nn.init.normal_(layer.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    reference = torchvisions(head).eval()
    reference.score_thresh = 0.0
    expected = reference([torch.zeros(3, SIDE, SIDE)] * 2)
    found = head(features(), (SIDE, SIDE))
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours["boxes"]) == 100
        torch.testing.assert_close(ours["boxes"], theirs["boxes"])
        torch.testing.assert_close(ours["scores"], theirs["scores"])
        assert torch.equal(ours["box_labels"], theirs["labels"])
        assert ours["scores"].diff().le(0).all()


def test_anchors_lie_at_the_nominal_strides():
    """7 and 13 positions at 800 pixels are 128 and 64 apart, where 800 // 7 is 114; 32 to 812 pixels large."""
    anchors = LevelAnchors([8, 16, 32, 64, 128], 4.0, (0.5, 1.0, 2.0))
    assert anchors.sizes == tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in (32, 64, 128, 256, 512))
    sides = [100, 50, 25, 13, 7]
    levels = [torch.zeros(2, 1, side, side) for side in sides]
    first, second = anchors(ImageList(torch.zeros(2, 3, 800, 800), [(800, 800)] * 2), levels)
    assert torch.equal(first, second)
    for side, stride, rows in zip(sides, (8, 16, 32, 64, 128), first.split([9 * s**2 for s in sides]), strict=True):
        centres = (rows[:, :2] + rows[:, 2:]) / 2
        steps = stride * torch.arange(side)
        torch.testing.assert_close(centres[::9], torch.cartesian_prod(steps, steps).flip(1).float())


def test_parameters_are_the_papers():
    """FNA++'s Tables 4 and 8: 11.49 M with MobileNetV2's 1.811712 M, 37.97 M with ResNet-50's 23.508032 M."""
    for channels, network, printed in (
        ((24, 32, 96, 320), 1.811712, 11.49),
        ((256, 512, 1024, 2048), 23.508032, 37.97),
    ):
        with torch.device("meta"):
            head = RetinaNet(channels, 80)
        assert network + sum(p.numel() for p in head.parameters()) / 1e6 == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize("empty", ["none", "first", "all"])
@pytest.mark.parametrize("count", [1, 2])
def test_trains_with_and_without_boxes(empty, count):
    head = small()
    targets = [boxes([4.0, 4.0, 28.0, 28.0]), boxes([30.0, 30.0, 90.0, 60.0], label=1)][:count]
    if empty != "none":
        targets[0] = boxes()
    if empty == "all":
        targets[-1] = boxes()
    losses = head(features(count), (SIDE, SIDE), targets)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    if all(len(target["boxes"]) == 0 for target in targets):
        assert losses["loss_box_reg"] == 0
        assert losses["loss_classifier"] > 0


def test_boxes_are_on_the_stored_images():
    head = small(score_threshold=0.0).eval()
    sizes, stored = [(90, SIDE), (SIDE, 70)], [(180, SIDE * 3), (SIDE, 70)]
    seen, wanted = (head(features(), (SIDE, SIDE), true_sizes=sizes, output_sizes=o) for o in (None, stored))
    for (height, width), found in zip(sizes, seen, strict=True):
        assert found["boxes"].min() >= 0
        assert found["boxes"][:, 0::2].max() <= width
        assert found["boxes"][:, 1::2].max() <= height
        assert set(found["box_labels"].tolist()) <= {0, 1, 2}
    torch.testing.assert_close(wanted[0]["boxes"], seen[0]["boxes"] * torch.tensor([3.0, 2, 3, 2]))
    with pytest.raises(ValueError, match="1 output sizes for 2 images"):
        head(features(), (SIDE, SIDE), output_sizes=[(9, 9)])


def test_fewer_convolutions_and_other_anchors():
    head = small(num_convs=2, anchor_scale=2.0, aspect_ratios=(1.0,))
    branches = head.detector.head.classification_head, head.detector.head.regression_head
    assert [len(branch.conv) for branch in branches] == [2, 2]
    assert head.detector.anchor_generator.num_anchors_per_location() == [3] * 5
    assert head.detector.anchor_generator.sizes[0] == (16, 20, 25)
    assert (head.target.name, head.paths, head.no_weight_decay()) == ("boxes", (1, 2, 3), set())


def test_half_and_double_precision():
    head = small()
    with torch.autocast("cpu", torch.bfloat16):
        losses = head(features(), (SIDE, SIDE), [boxes([4.0, 4.0, 28.0, 28.0])] * 2)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    doubled = {path: feature.double() for path, feature in features().items()}
    losses = head.double()(doubled, (SIDE, SIDE), [boxes([4.0, 4.0, 28.0, 28.0])] * 2)
    assert losses["loss_classifier"].dtype == torch.float64
    assert head.eval()(doubled, (SIDE, SIDE))[0]["boxes"].dtype == torch.float64


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        ((4, 0, 8, 10), {}, "path 1"),
        (CHANNELS, {"paths": (1, 3)}, "follow one another"),
        (CHANNELS, {"paths": (1, 4)}, "path 4 is out of range"),
        (CHANNELS, {"num_convs": 5}, "num_convs=5"),
        (CHANNELS, {"anchor_scale": 0.0}, "anchors of at least one pixel"),
        (CHANNELS, {"aspect_ratios": ()}, "aspect ratios above 0"),
    ],
)
def test_what_does_not_fit_is_refused(channels, options, message):
    with pytest.raises(InputError, match=message):
        RetinaNet(channels, 2, **options)


def test_dilated_features_and_missing_targets_are_refused():
    dilated = features()
    dilated[3] = torch.zeros(2, CHANNELS[3], 8, 8)
    with pytest.raises(InputError, match="stride 32 on path 3"):
        small()(dilated, (SIDE, SIDE), [boxes()] * 2)
    with pytest.raises(ValueError, match="targets"):
        small()(features(), (SIDE, SIDE))
