"""Suppression and RoIAlign of fixed size compute what torchvision's operators do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, nms, roi_align

from fbnetv5.heads.fixed_boxes import aligned_pool, are_large, first_kept, first_places, kept_of_each_class, overlaps


def random_boxes(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 100
    return torch.cat([corner, corner + torch.rand(*shape, 2, generator=generator) * 60], dim=-1)


def test_overlaps_are_those_of_torchvision_and_zero_for_boxes_without_area():
    boxes, others = random_boxes(20), random_boxes(30, seed=1)
    assert torch.allclose(overlaps(boxes, others), box_iou(boxes, others), atol=1e-6)
    assert torch.equal(overlaps(torch.zeros(2, 4), torch.zeros(3, 4)), torch.zeros(2, 3))


@pytest.mark.parametrize("num_boxes", [1, 6, 50, 300])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_the_first_kept_boxes_are_those_of_nms(num_boxes: int, threshold: float):
    boxes = random_boxes(num_boxes)
    expected = nms(boxes, torch.arange(num_boxes, 0, -1).float(), threshold)[:20]
    kept, counts = first_kept(boxes, torch.ones(num_boxes), threshold=threshold, count=20)
    assert counts.sum() == len(expected)
    assert torch.equal(kept[: len(expected)], boxes[expected])
    assert not kept[len(expected) :].any()


def test_boxes_that_are_not_valid_neither_are_kept_nor_drop_others():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    kept, counts = first_kept(boxes, torch.tensor([0.0, 1, 1]), threshold=0.5, count=3)
    assert torch.equal(kept, torch.stack([boxes[1], boxes[2], torch.zeros(4)]))
    assert counts.tolist() == [1, 1, 0]


def test_the_first_places_of_labelled_boxes_are_those_of_batched_nms():
    boxes = random_boxes(120)
    boxes[[3, 40, 41], 2] = boxes[[3, 40, 41], 0]  # without area: they overlap with nothing
    labels = torch.randint(3, (120,), generator=torch.Generator().manual_seed(2))
    expected = batched_nms(boxes, torch.arange(120, 0, -1).float(), labels, 0.4)
    places, counts = first_places(boxes, torch.ones(120), threshold=0.4, count=110, labels=labels.float())
    assert {3, 40, 41} <= set(expected.tolist())
    assert counts.tolist() == [1] * len(expected) + [0] * (110 - len(expected))
    assert torch.equal(places[: len(expected)], expected)


def test_suppression_by_class_is_batched_nms():
    boxes = random_boxes(3, 40)  # [K, n, 4]
    scores = torch.arange(40, 0, -1).float().expand(3, 40)
    labels = torch.arange(3)[:, None].expand(3, 40).flatten()
    kept = kept_of_each_class(boxes, torch.ones(3, 40), threshold=0.4)
    expected = batched_nms(boxes.flatten(0, 1), scores.flatten(), labels, 0.4)
    assert kept.flatten().nonzero()[:, 0].tolist() == sorted(expected.tolist())


@pytest.mark.parametrize(("height", "width"), [(13, 17), (5, 40)])
def test_roi_align_is_torchvisions_also_for_boxes_beyond_the_image(height: int, width: int):
    feature = torch.randn(7, height, width, generator=torch.Generator().manual_seed(0))
    boxes = random_boxes(25) * 2 - 30
    boxes[0] = 0
    expected = roi_align(feature[None], [boxes], 6, 1 / 8, 2, aligned=True)
    assert torch.allclose(aligned_pool(feature, boxes, stride=8, size=6, samples=2), expected, atol=1e-5)


def test_a_box_is_large_if_both_sides_are():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 0.5], [0, 0, 0.5, 2]])
    assert are_large(boxes, 1.0).tolist() == [1, 0, 0]
