"""The reward with its bound, and draws below it."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fpnas.bound import BoundedSpace, reward, swap

MACS = ((0, 3, 5), (1, 2), (0, 4, 4, 9))
ALL = list(product(range(3), range(2), range(4)))


def space(bound: float) -> BoundedSpace:
    return BoundedSpace(MACS, 10, bound)


def test_the_reward_is_that_of_equation_2():
    assert reward(0.7, 99, 100) == 0.7
    assert reward(0.7, 100, 100) == -1  # f < b, not f <= b
    assert reward(0.7, 101, 100) == -1
    assert space(20).reward((1, 0, 0), 0.5) == 0.5
    assert space(20).reward((2, 1, 1), 0.5) == -1


def test_macs_and_types_below_the_bound_by_enumeration():
    bounded = space(18)
    assert (bounded.cheapest, bounded.dearest) == (11, 26)
    for choices in ALL:
        macs = 10 + sum(row[chosen] for row, chosen in zip(MACS, choices, strict=True))
        assert bounded.macs(choices) == macs
        assert bounded.is_within(choices) == (macs < 18)
        for position in range(3):
            kinds = [kind for kind in range(len(MACS[position])) if bounded.macs(swap(choices, position, kind)) < 18]
            assert bounded.types_within(choices, position) == kinds
    with pytest.raises(ValueError, match="26 MACs"):
        bounded.require_within((2, 1, 3))


def test_draws_are_uniform_over_the_networks_below_the_bound():
    bounded, draws = space(15), torch.Generator().manual_seed(0)
    within = [choices for choices in ALL if bounded.is_within(choices)]
    counts = Counter(bounded.draw(draws) for _ in range(100 * len(within)))
    assert set(counts) == set(within)
    assert all(60 < count < 140 for count in counts.values())


def test_a_draw_is_below_a_bound_that_hardly_any_network_meets():
    many = BoundedSpace(((0, *range(1, 20)),) * 16, 0, 1)
    assert many.draw(torch.Generator().manual_seed(0)) == (0,) * 16


def test_a_draw_near_a_target_has_its_macs():
    spread = BoundedSpace(tuple(tuple(range(0, 100, 7)) for _ in range(16)), 50, 1e9)
    for seed in range(5):
        choices = spread.draw_near(800, 0.01, torch.Generator().manual_seed(seed))
        assert abs(spread.macs(choices) - 800) <= 8
    with pytest.raises(InputError, match="no network of 5,000 MACs"):
        spread.draw_near(5000, 0.01, torch.Generator(), attempts=500)


def test_a_draw_near_a_target_is_below_the_bound():
    for seed in range(20):
        choices = space(20).draw_near(19, 0.2, torch.Generator().manual_seed(seed))
        assert 19 * 0.8 <= space(20).macs(choices) < 20
    with pytest.raises(InputError, match="no network of 24 MACs"):
        space(20).draw_near(24, 0.1, torch.Generator(), attempts=300)


def test_a_bound_that_no_network_meets_is_one_clear_sentence():
    with pytest.raises(InputError, match=r"project.bound=11 MACs"):
        space(11)
