from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import (
    Batch,
    Item,
    KeyedIndex,
    LeftOut,
    LoadFailure,
    Sample,
    Target,
    TargetKind,
    UndecodableImageError,
    checked,
)
from fbnetv5.data.collate import collate
from fbnetv5.data.dataset import MultitaskDataset, PreparedDataset
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.sampler import StepSampler
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.transforms import eval_transform, train_transform

LABEL = Target("label", TargetKind.SCALAR)
BOXES = Target("boxes", TargetKind.BOXES)
MASK = Target("segmentation", TargetKind.MASK)


class Damaged:
    """Six grey images; some cannot be decoded, and one may have a wrong annotation."""

    classes: Mapping[str, tuple[str, ...]] = {"label": ("x",) * 6}

    def __init__(self, undecodable: Collection[int], wrong: int | None = None) -> None:
        self.undecodable, self.wrong = undecodable, wrong

    def __len__(self) -> int:
        return 6

    def labelled(self, name: str) -> Sequence[int]:
        return range(6)

    def num_labelled(self, name: str) -> int:
        return 6

    def load(self, index: int, names: Collection[str] | None = None) -> Sample:
        if index in self.undecodable:
            raise UndecodableImageError(f"image {index} is damaged")
        if index == self.wrong:
            raise InputError(f"mask of image {index} is wrong")
        return Sample(torch.full((3, 8, 8), index, dtype=torch.uint8), {"label": index}, f"image {index}")


def damaged(undecodable: Collection[int], policy: Any, wrong: int | None = None) -> MultitaskDataset:
    return MultitaskDataset(Damaged(undecodable, wrong), [LABEL], eval_transform(8, 8), seed=0, undecodable=policy)


def shapes(*targets: Target) -> MultitaskDataset:
    return MultitaskDataset(ShapesSource(20, 48, seed=1), targets, train_transform(56, 40), seed=5)


def load_all(num_workers: int) -> list[Batch]:
    sampler = StepSampler(20, 4, num_steps=6, seed=5)
    loader = DataLoader(shapes(LABEL, BOXES, MASK), batch_sampler=sampler, collate_fn=collate, num_workers=num_workers)
    return [checked(batch) for batch in loader]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)


def test_items_do_not_depend_on_the_number_of_workers() -> None:
    for alone, shared in zip(load_all(0), load_all(2), strict=True):
        assert alone.names == shared.names
        assert torch.equal(alone.images, shared.images)
        assert all(same(a, b) for a, b in zip(alone.targets, shared.targets, strict=True))


def test_an_item_depends_on_its_draw_alone() -> None:
    dataset = shapes(BOXES)
    first = dataset[KeyedIndex(3, (7, 2))]
    torch.manual_seed(99)
    dataset[KeyedIndex(4, (7, 3))]
    again = dataset[KeyedIndex(3, (7, 2))]
    assert isinstance(first, Item)
    assert isinstance(again, Item)
    assert torch.equal(first.image, again.image)
    views = {tuple(dataset[KeyedIndex(3, (step, 0))].image.flatten()[:50].tolist()) for step in range(8)}  # type: ignore[union-attr]
    assert len(views) > 4


def test_augmentation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    shapes(LABEL)[0]
    assert torch.equal(torch.rand(3), expected)


def test_only_the_targets_asked_for_are_returned() -> None:
    for targets, keys in (((LABEL,), {"label"}), ((BOXES, MASK), {"boxes", "box_labels", "segmentation"}), ((), set())):
        item = shapes(*targets)[0]
        assert isinstance(item, Item)
        assert item.target.keys() == keys


def test_a_damaged_image_becomes_a_failure_that_names_it() -> None:
    dataset = damaged({2}, "error")
    assert dataset[2] == LoadFailure("image 2 is damaged")
    batch = collate([dataset[1], dataset[2]])
    with pytest.raises(InputError, match=r"^image 2 is damaged$"):
        checked(batch)
    loader = DataLoader(dataset, batch_sampler=[[1, 2]], collate_fn=collate, num_workers=1)
    with pytest.raises(InputError, match=r"^image 2 is damaged$"):
        checked(next(iter(loader)))


def test_the_next_image_takes_the_place_of_a_damaged_one_when_told_to_skip() -> None:
    dataset = damaged({4, 5}, "skip")
    batch = checked(collate([dataset[3], dataset[4]]))
    assert batch.names == ["image 3", "image 0"]
    assert batch.skipped == ["image 4 is damaged", "image 5 is damaged"]
    assert [target["label"] for target in batch.targets] == [3, 0]


def test_skipping_ends_when_no_image_can_be_read() -> None:
    failure = damaged(range(6), "skip")[2]
    assert failure == LoadFailure("none of the 6 images can be read; the first: image 2 is damaged")


def test_a_wrong_annotation_is_never_skipped() -> None:
    assert damaged({1}, "skip", wrong=2)[1] == LoadFailure("mask of image 2 is wrong")


def test_an_item_knows_its_size_and_that_of_the_stored_image() -> None:
    item = shapes(LABEL)[0]
    assert isinstance(item, Item)
    assert (item.size, item.original_size) == ((40, 40), (48, 48))


def test_prepared_targets_stay_as_they_are_stored() -> None:
    source = ShapesSource(2, 48, seed=1)
    item = PreparedDataset(source, [MASK], InputSpec(short_side=96))[1]
    assert isinstance(item, Item)
    assert (item.size, item.original_size) == ((96, 96), (48, 48))
    assert item.target.keys() == {"segmentation"}
    assert torch.equal(item.target["segmentation"], source.load(1).target["segmentation"])
    assert PreparedDataset(source, [], InputSpec(short_side=96))[1].target == {}  # type: ignore[union-attr]


def test_a_damaged_image_is_reported_or_left_out_when_prepared_and_a_wrong_annotation_is_reported() -> None:
    source, spec = Damaged({2}, wrong=3), InputSpec(short_side=8)
    lenient = PreparedDataset(source, [LABEL], spec, undecodable="skip")
    assert PreparedDataset(source, [LABEL], spec)[2] == LoadFailure("image 2 is damaged")
    assert lenient[2] == LeftOut("image 2 is damaged")
    assert lenient[3] == LoadFailure("mask of image 3 is wrong")
