from __future__ import annotations

from typing import Any

import torch

from fbnetv5.base.types import Item, LeftOut, LoadFailure, Target, TargetKind
from fbnetv5.data.collate import collate

BOXES = Target("boxes", TargetKind.BOXES)
MASK = Target("segmentation", TargetKind.MASK)
DEPTH = Target("depth", TargetKind.DENSE)


def item(height: int, width: int, value: float = 1.0, **target: Any) -> Item:
    return Item(torch.full((3, height, width), value), target, f"{height}x{width}", (2 * height, 2 * width))


def test_images_of_one_size_are_stacked() -> None:
    items = [item(8, 16, value) for value in (1.0, 2.0)]
    batch = collate(items, multiple=8)
    assert torch.equal(batch.images, torch.stack([entry.image for entry in items]))
    assert batch.sizes == [(8, 16)] * 2
    assert batch.original_sizes == [(16, 32)] * 2


def test_images_of_many_sizes_are_padded_with_zeros_to_a_common_multiple() -> None:
    batch = collate([item(5, 40), item(33, 7)], multiple=32)
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.sizes == [(5, 40), (33, 7)]
    for image, (height, width) in zip(batch.images, batch.sizes, strict=True):
        assert (image[:, :height, :width] == 1).all()
        assert image.sum() == 3 * height * width


def test_one_image_is_padded_too_and_without_a_multiple_nothing_is() -> None:
    assert collate([item(5, 40)], multiple=32).images.shape == (1, 3, 32, 64)
    assert collate([item(5, 40)]).images.shape == (1, 3, 5, 40)
    assert collate([item(5, 40), item(6, 3)]).images.shape == (2, 3, 6, 40)


def test_maps_that_lie_on_the_images_are_padded_with_the_unknown_and_boxes_are_not() -> None:
    maps = {"segmentation": torch.ones(5, 7, dtype=torch.uint8), "depth": torch.ones(5, 7)}
    boxes = torch.tensor([[0.0, 0.0, 7.0, 5.0]])
    batch = collate([item(5, 7, boxes=boxes, **maps), item(8, 8)], multiple=8, targets=[BOXES, MASK, DEPTH])
    target = batch.targets[0]
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:5, :7] = True
    assert target["segmentation"].dtype == torch.uint8
    assert torch.equal(target["segmentation"] == 255, ~inside)
    assert torch.equal(target["depth"].isnan(), ~inside)
    assert torch.equal(target["boxes"], boxes)
    assert batch.targets[1] == {}


def test_maps_in_other_pixels_stay_as_they_are() -> None:
    stored = torch.ones(50, 70, dtype=torch.uint8)
    assert torch.equal(collate([item(5, 7, segmentation=stored)], multiple=8).targets[0]["segmentation"], stored)


def test_images_left_out_are_told_of() -> None:
    batch = collate([LeftOut("a is damaged"), item(4, 4), LeftOut("b is damaged")])
    assert (batch.names, batch.skipped) == (["4x4"], ["a is damaged", "b is damaged"])


def test_a_batch_without_an_image_is_empty_but_whole() -> None:
    batch = collate([LeftOut("a is damaged")], multiple=32).to("cpu")
    assert (len(batch), batch.skipped, batch.failure) == (0, ["a is damaged"], None)
    assert batch.images.shape == (0, 3, 32, 32)
    assert batch.split(2) == []


def test_one_failure_is_the_whole_batch() -> None:
    assert collate([item(4, 4), LeftOut("a"), LoadFailure("b is wrong")]).failure == "b is wrong"
