from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fbnetv5.base.types import Batch, Target, TargetKind
from fbnetv5.data.collate import round_up


def batch_of(count: int) -> Batch:
    """A batch whose every entry tells the position of its image."""
    return Batch(
        images=torch.arange(count).float().reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4),
        targets=[{"label": i, "boxes": torch.full((1, 4), float(i))} for i in range(count)],
        names=[str(i) for i in range(count)],
        sizes=[(i, i + 1) for i in range(count)],
        original_sizes=[(2 * i, 3 * i) for i in range(count)],
        skipped=["gone"],
    )


def test_parts_of_a_batch_hold_the_entries_of_their_images() -> None:
    batch = batch_of(6)
    parts = batch.split(3)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    for name in ("targets", "names", "sizes", "original_sizes"):
        assert [entry for part in parts for entry in getattr(part, name)] == getattr(batch, name)
    assert [part.skipped for part in parts] == [[], [], []]


def test_parts_are_equal_or_refused() -> None:
    with pytest.raises(ValueError, match="6 images"):
        batch_of(6).split(4)


def test_images_of_a_size_are_grouped_without_the_padding_of_others() -> None:
    sizes = [(30, 40), (32, 60), (20, 64), (64, 33)]
    images = torch.zeros(4, 3, 64, 64)
    for row, (height, width) in enumerate(sizes):
        images[row, :, :height, :width] = row + 1
    names = list("abcd")
    batch = Batch(images, [{"label": i} for i in range(4)], names, sizes, [(i, i) for i in range(4)], skipped=["gone"])
    groups = batch.by_size(lambda size: (round_up(size[0], 32), round_up(size[1], 32)))
    assert [group.names for group in groups] == [["a", "b", "c"], ["d"]]
    assert [tuple(group.images.shape) for group in groups] == [(3, 3, 32, 64), (1, 3, 64, 64)]
    for group in groups:
        for image, target, size, name in zip(group.images, group.targets, group.sizes, group.names, strict=True):
            row = names.index(name)
            assert (target["label"], size) == (row, sizes[row])
            assert image.sum() == images[row].sum()


def test_images_that_are_too_thin_for_a_network_are_padded() -> None:
    batch = Batch(torch.ones(2, 3, 32, 64), [{}, {}], ["a", "b"], [(32, 64), (20, 30)], [(1, 1), (1, 1)])
    groups = batch.by_size(lambda size: (64, 64 if size[1] > 32 else 32))
    assert [tuple(group.images.shape) for group in groups] == [(1, 3, 64, 64), (1, 3, 64, 32)]
    assert groups[0].images.sum() == 3 * 32 * 64


def test_a_batch_moves_with_all_of_its_tensors_and_keeps_the_rest() -> None:
    batch = batch_of(2)
    moved = batch.to("meta")
    tensors = [moved.images, *(value for target in moved.targets for value in target.values())]
    assert all(tensor.is_meta for tensor in tensors if isinstance(tensor, Tensor))
    assert [target["label"] for target in moved.targets] == [0, 1]
    for name in ("names", "sizes", "original_sizes", "skipped"):
        assert getattr(moved, name) == getattr(batch, name)


def test_keys_of_a_target() -> None:
    assert Target("label", TargetKind.SCALAR).keys == ("label",)
    assert Target("boxes", TargetKind.BOXES).keys == ("boxes", "box_labels")
    assert Target("hands", TargetKind.BOXES).keys == ("hands", "hands_labels")
