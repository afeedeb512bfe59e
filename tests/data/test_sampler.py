from __future__ import annotations

import itertools

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import KeyedIndex
from fbnetv5.data.sampler import StepSampler


def draws(num_images: int = 10, batch_size: int = 8, num_steps: int = 6, **kwargs: int) -> list[list[KeyedIndex]]:
    return list(StepSampler(num_images, batch_size, num_steps=num_steps, seed=kwargs.pop("seed", 3), **kwargs))


def test_each_epoch_is_another_permutation_and_batches_run_across_its_border() -> None:
    order = [draw.index for step in draws(num_steps=5) for draw in step]  # 40 draws: 4 epochs of 10
    epochs = [order[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_batch_may_be_larger_than_the_data_set() -> None:
    (batch,) = draws(num_images=3, batch_size=8, num_steps=1)
    assert [sorted(draw.index for draw in batch[start : start + 3]) for start in (0, 3)] == [[0, 1, 2]] * 2
    assert len(batch) == 8


def test_ranks_hold_contiguous_slices_of_the_one_process_batch() -> None:
    ranks = [draws(rank=rank, world_size=2) for rank in range(2)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == draws()


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees() -> None:
    assert draws()[4:] == draws(start_step=4)
    assert len(StepSampler(10, 8, num_steps=6, seed=3, start_step=4)) == 2


def test_the_key_of_a_draw_is_step_and_position() -> None:
    keys = [draw.key for step in draws(rank=1, world_size=2, num_steps=2) for draw in step]
    assert keys == list(itertools.product((0, 1), (4, 5, 6, 7)))


def test_the_order_follows_the_seed() -> None:
    assert draws(seed=3) == draws(seed=3) != draws(seed=4)


@pytest.mark.parametrize(
    ("num_images", "batch_size", "message"),
    [(0, 8, "no image"), (10, 7, "batch_size 7 .* by 2"), (10, 0, "batch_size")],
)
def test_impossible_batches_are_refused(num_images: int, batch_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        StepSampler(num_images, batch_size, num_steps=1, seed=0, world_size=2)
