"""Losses of proposals and boxes against Detectron2's formulas, written out; box coding against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fbnetv5.base.seeding import forked
from fbnetv5.heads import batched_rcnn
from fbnetv5.heads.batched_rcnn import Proposals
from fbnetv5.heads.box_matching import BACKGROUND, BETWEEN, match, padded_truth
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.heads.lite_rcnn.losses import L1RegionProposals, L1RoIHeads


def proposals(num_asked: int) -> L1RegionProposals:
    return L1RegionProposals(
        nn.Identity(),
        nn.Identity(),
        0.7,
        0.3,
        batch_size_per_image=num_asked,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 1, "testing": 1},
        post_nms_top_n={"training": 1, "testing": 1},
        nms_thresh=0.7,
    )


def test_proposal_losses_are_sums_over_the_sample_divided_by_what_is_asked_for():
    """Two images of five anchors, all sampled: 16 are asked for. Neither-labels (-1) never count."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([[1.0, 0, -1, 0, 1], [0.0, 0, 0, -1, 1]])
    logits, deltas = torch.randn(2, 5, generator=generator), torch.randn(2, 5, 4, generator=generator)
    wanted = torch.randn(2, 5, 4, generator=generator)
    scores, boxes = proposals(8).sampled_losses(logits, deltas, labels, wanted)
    entropy = sum(
        math.log1p(math.exp(-x if y == 1 else x))
        for x, y in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True)
        if y >= 0
    )
    distance = (deltas - wanted).abs()[labels == 1].sum()
    assert scores.item() == pytest.approx(entropy / 16, rel=1e-5)
    assert boxes.item() == pytest.approx(distance.item() / 16, rel=1e-5)


class Constant(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, *_inputs: object) -> object:
        return self.value


def test_box_losses_are_divided_by_all_sampled_proposals():
    """Three proposals and the true box itself, which joins them; two of the four are matched, to class 2 of 3."""
    generator = torch.Generator().manual_seed(0)
    logits, deltas = torch.randn(4, 4, generator=generator), torch.randn(4, 16, generator=generator)
    heads = L1RoIHeads(
        Constant(None), Constant(None), Constant((logits, deltas)), 0.5, 0.5, 8, 0.5, (10.0, 10.0, 5.0, 5.0), 0, 0.5, 9
    )
    truth = {"boxes": torch.tensor([[10.0, 10, 30, 20]]), "labels": torch.tensor([2])}
    rows = torch.tensor([[12.0, 11, 30, 22], [50.0, 50, 60, 60], [0.0, 0, 5, 5]])
    given = Proposals(rows[None], torch.ones(1, 3, dtype=torch.bool))
    losses = heads.learn(torch.zeros(()), given, [(64, 64)], padded_truth([truth]))
    # weights 10, 10 on the centres' distance over the proposal's sides, 5, 5 on the logarithm of the sides' ratios
    wanted = [10 * (20 - 21) / 18, 10 * (15 - 16.5) / 11, 5 * math.log(20 / 18), 5 * math.log(10 / 11)]
    distance = (deltas[0, 8:12] - torch.tensor(wanted)).abs().sum() + deltas[3, 8:12].abs().sum()
    log_p = logits.log_softmax(1)[range(4), [2, 0, 0, 2]]
    torch.testing.assert_close(losses["loss_box_reg"], distance / 4)
    torch.testing.assert_close(losses["loss_classifier"], -log_p.mean())


def test_decoding_a_box_written_out():
    """Deltas (dx, dy, dw, dh) / (10, 10, 5, 5): the centre moves by shares of the sides, the sides grow by exp."""
    coder = LiteRCNN((4, 6, 8, 10), 2).roi.box_coder
    decoded = coder.decode(torch.tensor([[1.0, -2, 5 * math.log(2), 0]]), [torch.tensor([[10.0, 20, 30, 30]])])
    torch.testing.assert_close(decoded[0, 0], torch.tensor([22 - 20.0, 23 - 5.0, 22 + 20.0, 23 + 5.0]))


def test_an_object_that_no_anchor_overlaps_enough_takes_the_best_one():
    head = LiteRCNN((4, 6, 8, 10), 2)
    true_boxes = padded_truth([{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}])
    boxes = torch.tensor([[0.0, 0, 10, 5], [0.0, 0, 10, 4], [50.0, 50, 60, 60]])[None]
    thresholds = {"low": head.rpn.proposal_matcher.low_threshold, "high": head.rpn.proposal_matcher.high_threshold}
    assert match(boxes, true_boxes, **thresholds, keep_best=True).tolist() == [[0, BETWEEN, BACKGROUND]]
    thresholds = {"low": head.roi.proposal_matcher.low_threshold, "high": head.roi.proposal_matcher.high_threshold}
    assert match(boxes, true_boxes, **thresholds).tolist() == [[0, BACKGROUND, BACKGROUND]]


def test_an_object_that_no_anchor_touches_takes_none():
    anchors = torch.tensor([[[0.0, 0, 8, 8], [8, 0, 16, 8]]])
    truth = padded_truth([{"boxes": torch.tensor([[60.0, 60, 64, 64]]), "labels": torch.tensor([0])}])
    assert match(anchors, truth, low=0.3, high=0.7, keep_best=True).tolist() == [[BACKGROUND, BACKGROUND]]


def test_a_batch_without_a_single_proposal_has_gradients(monkeypatch):
    with forked(0):
        head = LiteRCNN((4, 6, 8, 10), 2)
    monkeypatch.setattr(batched_rcnn, "kept", lambda boxes, valid, _: torch.zeros_like(valid))
    nothing = {"boxes": torch.zeros(0, 4), "box_labels": torch.zeros(0, dtype=torch.int64)}
    losses = head({1: torch.randn(2, 6, 8, 8)}, (64, 64), [nothing] * 2)
    assert losses["loss_classifier"] == losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert all(buffer.isfinite().all() for buffer in head.buffers())
