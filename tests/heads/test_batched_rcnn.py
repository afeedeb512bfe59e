"""Faster R-CNN's training of a whole batch at once against torchvision's, an image at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou

from fbnetv5.base.seeding import forked
from fbnetv5.heads.box_matching import decoded, encoded, match, padded_truth, sample
from fbnetv5.heads.suppression import kept, kept_together
from fbnetv5.tasks.detection import Detection, DetectionSearchHead

SIDE = 64


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes that overlap much, some of them equal, on whole pixels."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, SIDE - 24, (count, 2), generator=generator).float()
    return torch.cat([corners, corners + torch.randint(8, 24, (count, 2), generator=generator)], dim=1)


def random_truth(*counts: int) -> list[dict[str, Tensor]]:
    return [
        {"boxes": random_boxes(count, seed), "labels": torch.arange(count) % 2 + 1} for seed, count in enumerate(counts)
    ]


@pytest.mark.parametrize("keep_best", [True, False])
def test_matches_and_deltas_are_torchvisions(keep_best):
    truth, boxes = random_truth(3, 0, 1, 7), torch.stack([random_boxes(60, 10 + row) for row in range(4)])
    places = match(boxes, padded_truth(truth), low=0.3, high=0.6, keep_best=keep_best)
    assert (places[1] == -1).all()
    for row in (0, 2, 3):
        expected = Matcher(0.6, 0.3, allow_low_quality_matches=keep_best)(box_iou(truth[row]["boxes"], boxes[row]))
        assert torch.equal(places[row], expected)
        wanted = truth[row]["boxes"][expected.clamp(min=0)]
        deltas = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(wanted, boxes[row])
        assert torch.equal(encoded(wanted, boxes[row], (10.0, 10.0, 5.0, 5.0)), deltas)
        found = decoded(deltas, boxes[row], (10.0, 10.0, 5.0, 5.0), 0.1)
        assert torch.equal(found, BoxCoder((10.0, 10.0, 5.0, 5.0), 0.1).decode_single(deltas, boxes[row]))


@pytest.mark.parametrize("labels", ["many", "few objects", "few of all", "none"])
def test_the_sample_is_torchvisions(labels):
    with forked(0):
        kinds = {"many": (-1, 3), "few objects": (-4, 2), "few of all": (-90, 2), "none": (-1, 0)}[labels]
        drawn = torch.randint(*kinds, (3, 200))
    with forked(1):
        objects, background = BalancedPositiveNegativeSampler(40, 0.25)(list(drawn))
        after = torch.rand(1)
    with forked(1):
        found = sample(drawn, 40, 0.25)
        assert torch.equal(torch.rand(1), after)
    assert torch.equal(found.objects, torch.stack(objects).bool())
    assert torch.equal(found.background, torch.stack(background).bool())
    assert found.counts == (found.objects | found.background).sum(dim=1).tolist()


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_suppression_of_several_images_is_that_of_each(threshold):
    boxes = torch.stack([random_boxes(150, row) for row in range(3)])
    chain = torch.arange(40.0)[:, None].expand(-1, 4) + torch.tensor([0.0, 0, 8, 8])  # each drops the next
    boxes[0, :40] = chain
    valid = torch.rand(3, 150, generator=torch.Generator().manual_seed(0)) < 0.9
    valid[2] = False
    found = kept_together(boxes, valid, threshold)
    assert torch.equal(found, kept(boxes, valid, threshold))
    assert found.any(dim=1).tolist() == [True, True, False]


def of_torchvision(head: DetectionSearchHead, feature: Tensor, truth: list[dict[str, Tensor]]) -> Tensor:
    """The sum of torchvision's losses, of the same modules."""
    images = ImageList(torch.empty(len(feature), 3, SIDE, SIDE), [(SIDE, SIDE)] * len(feature))
    proposals, losses = RegionProposalNetwork.forward(head.rpn, images, {"0": feature}, truth)
    _, of_boxes = RoIHeads.forward(head.roi, {"0": feature}, proposals, images.image_sizes, truth)
    return torch.stack([*losses.values(), *of_boxes.values()]).sum()


@pytest.mark.parametrize("counts", [(3, 0, 1, 7), (0, 0, 0, 0)])
def test_losses_and_gradients_are_torchvisions(counts):
    task = Detection(path=2, anchor_sizes=(12, 24), hidden_channels=16, num_proposals=20, num_sampled=16)
    with forked(0):
        head = task.search_head((4, 6, 8, 10), ("a", "b"))
        torch.nn.init.normal_(head.rpn.head.bbox_pred.weight, std=0.1)
        feature = torch.randn(4, 8, 4, 4)
    truth, results = random_truth(*counts), []
    for theirs in (True, False):
        head.zero_grad()
        with forked(1):
            if theirs:
                loss = of_torchvision(head, head.norm(feature), truth)
            else:
                targets = [{"boxes": one["boxes"], "box_labels": one["labels"] - 1} for one in truth]
                loss = head({2: feature}, (SIDE, SIDE), targets)
        loss.backward()
        results.append([loss.detach(), *(parameter.grad.clone() for parameter in head.parameters())])
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)
