"""Sampling at matched MACs: pruning and costs against the topologies' own, draws against the enumeration."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5 import sample
from fbnetv5.projects.table5.sample import (
    Sampled,
    Window,
    backbone_macs,
    enumerate_window,
    named_by_code,
    prune,
    sample_topologies,
)

NANO, SIZE = get_family("NANO"), (64, 64)
ANY = Window(NANO, SIZE, 0, float("inf"))
FULL = network_cost(NANO, Topology.full(2), SIZE).macs
P = (0.9, 0.2, 0.6, 0.5, 0.3, 0.7, 0.4, 0.8)


def every(num_stages: int) -> np.ndarray:
    return np.array(list(itertools.product([False, True], repeat=4 * num_stages)))


@pytest.mark.parametrize("paths", [(3,), (1,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("num_stages", [1, 2, 4])
def test_pruning_and_costs_are_the_topologies_own(num_stages, paths):
    rows = every(num_stages)
    rows = rows if len(rows) <= 256 else rows[np.random.default_rng(0).choice(len(rows), 200, replace=False)]
    seen, partitions = prune(rows, paths)
    macs = backbone_macs(seen, partitions, ANY)
    space = TopologySpace(num_stages, [0] * 4 * num_stages)
    for row, kept, num_partitions, cost in zip(rows, seen, partitions, macs, strict=True):
        expected = space.decode([int(bit) for bit in row]).prune(paths)
        assert space.decode([int(bit) for bit in kept]).blocks == expected.blocks
        assert num_partitions == expected.num_partitions
        assert cost == network_cost(NANO, expected, SIZE).macs


def by_hand(paths: tuple[int, ...], window: Window) -> dict[frozenset, float]:
    """p(topology as seen | in the window), summed over all 2^8 topologies."""
    space, mass = TopologySpace(2, [0] * 8), Counter()
    for choices in itertools.product([0, 1], repeat=8):
        seen = space.decode(choices).prune(paths)
        if window.least <= network_cost(NANO, seen, SIZE).macs <= window.most:
            mass[seen.blocks] += float(np.prod([p if bit else 1 - p for p, bit in zip(P, choices, strict=True)]))
    total = sum(mass.values())
    return {blocks: value / total for blocks, value in mass.items()}


@pytest.mark.parametrize("paths", [(3,), (1,)])
def test_the_enumerated_distribution_is_the_conditional_one(paths):
    window = Window(NANO, SIZE, 0.4 * FULL, 0.6 * FULL)
    expected = by_hand(paths, window)
    distinct, mass = enumerate_window(np.array(P), paths, window)
    space = TopologySpace(2, [0] * 8)
    found = {space.decode([int(b) for b in row]).blocks: m for row, m in zip(distinct, mass, strict=True)}
    assert found == pytest.approx(expected)
    assert 10 < len(found) < 200


@pytest.mark.parametrize("enumerated", [True, False])
def test_draws_are_distinct_matched_and_follow_the_distribution(monkeypatch, enumerated):
    """The first of two draws is p itself; the second is p without the first, renormalised."""
    window = Window(NANO, SIZE, 0.47 * FULL, 0.53 * FULL)
    if not enumerated:
        monkeypatch.setattr(sample, "MAX_ENUMERATED", 0)
        monkeypatch.setattr(sample, "NUM_DRAWS", 300)
    expected = by_hand((3,), window)
    first, second, num_draws = Counter(), Counter(), 800
    for seed in range(num_draws):
        one, other = sample_topologies(P, (3,), window, 2, seed, 0)
        assert one.topology != other.topology
        assert one.macs == network_cost(NANO, one.topology.prune((3,)), SIZE).macs
        assert window.least <= one.macs <= window.most
        first[one.topology.blocks] += 1
        second[other.topology.blocks] += 1
    after = {b: sum(q * p / (1 - q) for a, q in expected.items() if a != b) for b, p in expected.items()}
    for counts, exact in ((first, expected), (second, after)):
        for blocks, p in exact.items():
            assert abs(counts[blocks] / num_draws - p) < 4.5 * (p * (1 - p) / num_draws) ** 0.5 + 1e-9


def test_a_draw_depends_on_its_key_alone():
    window = Window(NANO, SIZE, 0.4 * FULL, 0.6 * FULL)
    draws = [[s.code for s in sample_topologies(P, (1,), window, 4, *key)] for key in ((0, 1), (0, 1), (0, 2), (1, 1))]
    assert draws[0] == draws[1]
    assert draws[0] not in draws[2:]


def test_where_few_draws_fall_into_the_window_the_likeliest_are_taken(monkeypatch):
    """Nearly all mass is far too dear; what is found is in the window all the same."""
    monkeypatch.setattr(sample, "NUM_DRAWS", 2000)
    full = network_cost(NANO, Topology.full(5), SIZE).macs
    window = Window(NANO, SIZE, 0.3 * full, 0.4 * full)
    found = sample_topologies([0.98] * 20, (3,), window, 4, 0)
    assert len({one.code for one in found}) == 4
    assert all(window.least <= one.macs <= window.most for one in found)


def test_a_window_without_topologies_is_an_error():
    with pytest.raises(InputError, match=r"no topology of 8 blocks .* change match"):
        sample_topologies(P, (3,), Window(NANO, SIZE, 0, 1), 4, 0)


def test_fewer_than_asked_for_are_all():
    least = network_cost(NANO, Topology(2, frozenset()).prune((3,)), SIZE).macs
    found = sample_topologies(P, (3,), Window(NANO, SIZE, least, least), 4, 0)
    assert [(one.code, one.macs) for one in found] == [("00", least)]


def test_a_code_names_its_topology():
    space = TopologySpace(2, [0] * 8)
    for row in itertools.product([0, 1], repeat=8):
        topology = space.decode(row)
        assert named_by_code(Sampled(topology, 0).code, 2) == topology
    assert named_by_code("81", 2).blocks == {(1, 0), (2, 3)}
    for wrong in ("1ff", "0x", ""):
        with pytest.raises(InputError, match="hexadecimal"):
            named_by_code(wrong, 2)
