"""Lite R-CNN: printed costs, Detectron2's layout, odd batches, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from fbnetv5.archs.cost import feature_sizes, measured_macs
from fbnetv5.archs.families import get_family
from fbnetv5.base.seeding import forked
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.heads.lite_rcnn.layers import LiteBoxPredictor
from fbnetv5.heads.pooling import PathRoIAlign

CHANNELS = (4, 6, 8, 10)
LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}


def small(num_classes: int = 2, **options: object) -> LiteRCNN:
    with forked(0):
        return LiteRCNN(
            CHANNELS,
            num_classes,
            **{
                "anchor_sizes": (12, 24),
                "num_proposals": (8, 8),
                "num_sampled": 8,
                "num_sampled_anchors": 32,
                **options,
            },
        )


def feature(count: int = 2, height: int = 8, width: int = 8) -> dict[int, torch.Tensor]:
    return {1: torch.randn(count, CHANNELS[1], height, width, generator=torch.Generator().manual_seed(0))}


def boxes(*rows: list[float], label: int = 0) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(rows).reshape(-1, 4), "box_labels": torch.full((len(rows),), label)}


class OneFeature(nn.Module):
    """The RPN's layers on a tensor, not on a list of one."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, tensor: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        return self.head([tensor])


@pytest.mark.parametrize(
    ("name", "size", "rpn", "roi"),
    [
        ("A_C", (224, 320), 152, 182),
        ("A_R", (224, 320), 152, 182),
        ("A", (224, 320), 158, 186),
        ("A_C", (320, 512), 347, 182),
        ("A_R", (320, 512), 347, 182),
    ],
)
def test_macs_are_the_printed_ones(name, size, rpn, roi):
    """Table 7, whose 213x320 and 320x481 are padded to a multiple of 32."""
    family = get_family(name)
    head = LiteRCNN(family.channels, 80)
    proposals = measured_macs(
        OneFeature(head.rpn.head), torch.zeros(1, family.channels[1], *feature_sizes(family, size)[1])
    )
    box_layers = nn.Sequential(head.roi.box_head, head.roi.box_predictor)
    refinement = measured_macs(box_layers, torch.zeros(30, family.channels[1], 6, 6))
    assert proposals == pytest.approx(rpn * 1e6, rel=0.01)
    assert refinement == pytest.approx(roi * 1e6, rel=0.005)


def test_rpn_predicts_a_score_and_four_deltas_for_fifteen_anchors():
    head = LiteRCNN(CHANNELS, 80)
    (objectness,), (deltas,) = head.rpn.head.eval()([feature(2, 5, 7)[1]])
    assert objectness.shape == (2, 15, 5, 7)
    assert deltas.shape == (2, 60, 5, 7)
    assert head.rpn.head.predict.out_channels == 75
    output = head.rpn.head.predict(head.rpn.head.layers(feature(2, 5, 7)[1]))
    torch.testing.assert_close(torch.cat([objectness, deltas], dim=1), output)


def test_only_the_rpn_has_squeeze_excitation():
    head = LiteRCNN(CHANNELS, 80)
    gates = [[layer.se for layer in part.layers] for part in (head.rpn.head, head.roi.box_head)]
    assert [type(getattr(gate, "gate", None)) for gate in gates[0]] == [nn.Hardsigmoid] * 3
    assert [type(gate) for gate in gates[1]] == [nn.Identity] * 4


def test_predictor_holds_detectron2s_weights_and_speaks_torchvisions_order():
    predictor = LiteBoxPredictor(160, 3)
    hidden = torch.randn(5, 160, generator=torch.Generator().manual_seed(0))
    scores, deltas = predictor(hidden)
    assert predictor.scores.weight.shape == (4, 160)
    assert predictor.deltas.weight.shape == (12, 160)
    torch.testing.assert_close(scores[:, 0], predictor.scores(hidden)[:, -1])
    torch.testing.assert_close(scores[:, 1:], predictor.scores(hidden)[:, :-1])
    torch.testing.assert_close(deltas[:, 4:], predictor.deltas(hidden))
    assert deltas[:, :4].eq(0).all()


def test_roi_align_samples_a_linear_feature_at_the_bins_centres():
    """A feature that is its own column (position x + 0.5 pixels) gives the bins' centres in pixels of the feature."""
    columns = torch.arange(20.0).expand(1, 1, 20, 20)
    pooled = PathRoIAlign(8, 6, aligned=True)(
        {"0": columns}, [torch.tensor([[16.0, 16.0, 112.0, 112.0]])], [(160, 160)]
    )
    centres = 2 + 12 * (torch.arange(6) + 0.5) / 6 - 0.5
    torch.testing.assert_close(pooled[0, 0], centres.expand(6, 6))


@pytest.mark.parametrize("empty", ["none", "first", "all"])
@pytest.mark.parametrize("count", [1, 2])
def test_trains_with_and_without_boxes(empty, count):
    head = small()
    targets = [boxes([4.0, 4.0, 28.0, 28.0]), boxes([30.0, 30.0, 50.0, 60.0], [1.0, 1.0, 13.0, 13.0])][:count]
    if empty != "none":
        targets[0] = boxes()
    if empty == "all":
        targets[-1] = boxes()
    with forked(0):
        losses = head(feature(count), (64, 64), targets)
    assert set(losses) == LOSSES
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_losses_without_boxes_are_those_of_the_background():
    """No box: every sampled anchor and proposal is background, and boxes have nothing to learn."""
    head = small()
    with forked(0):
        losses = head(feature(), (64, 64), [boxes(), boxes()])
    assert losses["loss_rpn_box_reg"] == losses["loss_box_reg"] == 0
    assert losses["loss_objectness"].item() == pytest.approx(F.softplus(torch.tensor(0.0)).item(), abs=0.05)
    assert losses["loss_classifier"].item() == pytest.approx(torch.tensor(3.0).log().item(), abs=0.05)


def test_training_without_targets_is_refused():
    with pytest.raises(ValueError, match="targets"):
        small()(feature(), (64, 64))


def test_boxes_are_clipped_to_the_images_before_padding():
    head = small(score_threshold=0.0).eval()
    sizes = [(40, 64), (64, 33)]
    predictions = head(feature(), (64, 64), true_sizes=sizes)
    for (height, width), prediction in zip(sizes, predictions, strict=True):
        assert len(prediction["boxes"]) > 0
        assert prediction["boxes"].min() >= 0
        assert prediction["boxes"][:, 0::2].max() <= width
        assert prediction["boxes"][:, 1::2].max() <= height
        assert set(prediction["box_labels"].tolist()) <= {0, 1}
    whole = head(feature(), (64, 64))[0]["boxes"]
    assert whole[:, 3].max() > 40


def test_true_sizes_that_do_not_fit_are_refused():
    head = small().eval()
    with pytest.raises(ValueError, match="1 true sizes for 2 images"):
        head(feature(), (64, 64), true_sizes=[(64, 64)])
    with pytest.raises(ValueError, match=r"\(65, 64\) does not fit"):
        head(feature(), (64, 64), true_sizes=[(65, 64), (64, 64)])


def test_boxes_are_in_the_pixels_of_the_stored_images():
    head = small(score_threshold=0.0).eval()
    sizes, stored = [(40, 64), (64, 33)], [(80, 192), (64, 33)]
    seen, wanted = (head(feature(), (64, 64), true_sizes=sizes, output_sizes=o) for o in (None, stored))
    torch.testing.assert_close(wanted[0]["boxes"], seen[0]["boxes"] * torch.tensor([3.0, 2, 3, 2]))
    assert wanted[0]["boxes"][:, 0::2].max() <= 192
    assert torch.equal(wanted[1]["boxes"], seen[1]["boxes"])
    with pytest.raises(ValueError, match="1 output sizes for 2 images"):
        head(feature(), (64, 64), output_sizes=[(9, 9)])


def test_defaults_are_detectron2s_and_d2gos():
    """detectron2/config/defaults.py, and d2go/configs/faster_rcnn_fbnetv3a_C4.yaml for the numbers of proposals."""
    head = LiteRCNN(CHANNELS, 80)
    assert head.rpn._pre_nms_top_n == {"training": 2000, "testing": 1000}
    assert head.rpn._post_nms_top_n == {"training": 2000, "testing": 30}
    assert (head.rpn.nms_thresh, head.roi.nms_thresh, head.roi.score_thresh) == (0.7, 0.5, 0.05)
    assert (head.rpn.box_coder.weights, head.roi.box_coder.weights) == ((1, 1, 1, 1), (10, 10, 5, 5))
    matchers = [head.rpn.proposal_matcher, head.roi.proposal_matcher]
    assert [(m.low_threshold, m.high_threshold) for m in matchers] == [(0.3, 0.7), (0.5, 0.5)]
    assert [m.allow_low_quality_matches for m in matchers] == [True, False]
    samplers = [head.rpn.fg_bg_sampler, head.roi.fg_bg_sampler]
    assert [(s.batch_size_per_image, s.positive_fraction) for s in samplers] == [(256, 0.5), (512, 0.25)]
    assert head.roi.detections_per_img == 100
    assert (head.target.name, head.paths, head.no_weight_decay()) == ("boxes", (1,), set())


def test_double_precision_trains_and_predicts():
    head = small().double()
    features = {1: feature()[1].double()}
    with forked(0):
        losses = head(features, (64, 64), [boxes([4.0, 4.0, 28.0, 28.0])] * 2)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    assert len(head.eval()(features, (64, 64))) == 2


def test_evaluates_at_most_the_asked_proposals():
    head = LiteRCNN(CHANNELS, 2).eval()
    seen = []
    head.roi.box_head.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    head(feature(1, 28, 40), (224, 320))
    assert seen == [30]


def test_half_precision_leaves_boxes_and_losses_in_float32():
    head = small()
    with torch.autocast("cpu", torch.bfloat16), forked(0):
        losses = head(feature(), (64, 64), [boxes([4.0, 4.0, 28.0, 28.0])] * 2)
        predictions = head.eval()(feature(), (64, 64))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert predictions[0]["boxes"].dtype == torch.float32


def test_learns_two_boxes_and_predicts_our_class_ids():
    head = small(num_candidates=(200, 200), num_proposals=(32, 16), num_sampled=16, num_sampled_anchors=64)
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 32.0, 32.0], [40.0, 36.0, 60.0, 60.0]]),
        "box_labels": torch.tensor([1, 0]),
    }
    features = feature(2)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
    with forked(0):
        for _ in range(80):
            optimizer.zero_grad()
            sum(head(features, (64, 64), [target] * 2).values()).backward()
            optimizer.step()
            schedule.step()
    best = head.eval()(features, (64, 64))[0]
    order = best["box_labels"][:2].argsort(descending=True)
    assert sorted(best["box_labels"][:2].tolist()) == [0, 1]
    assert box_iou(best["boxes"][:2][order], target["boxes"]).diag().min() > 0.5
    assert best["scores"][0] > 0.5
