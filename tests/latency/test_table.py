from __future__ import annotations

import itertools
import json
import random

import pytest

from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.errors import InputError
from fbnetv5.latency.table import LatencyTable
from tests.latency.tables import random_table


def charged(table: LatencyTable, topology: Topology) -> float:
    """The trunk's latency and what the selected blocks are charged with."""
    costs = table.block_latencies(topology.num_stages)
    choices = TopologySpace(topology.num_stages, costs).encode(topology)
    return table.trunk_ms + sum(price * choice for price, choice in zip(costs, choices, strict=True))


def random_blocks(seed: int, num_stages: int) -> Topology:
    rng = random.Random(seed)
    return Topology(num_stages, frozenset(b for b in Topology.full(num_stages).blocks if rng.random() < 0.5))


@pytest.mark.parametrize("num_stages", [1, 2, 5])
def test_the_sum_is_the_supernets_and_that_of_no_blocks(num_stages):
    table = random_table(num_stages)
    for topology in (Topology.full(num_stages), Topology(num_stages, frozenset())):
        assert charged(table, topology) == pytest.approx(table.network_ms(topology), rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_an_edge_with_one_end_is_charged_half(seed):
    table, topology = random_table(seed), random_blocks(seed, 4)
    half = 0.0
    for stage, source, target in itertools.product((1, 2, 3), range(4), range(4)):
        ends = topology.active(stage, source) + topology.active(stage + 1, target)
        half += 0.5 * table.fusion_ms[source][target] * (ends == 1)
    assert charged(table, topology) == pytest.approx(table.network_ms(topology) + half, rel=1e-12)


def test_a_network_of_two_blocks_by_hand():
    table = random_table(0)
    topology = Topology(3, frozenset({(2, 1), (3, 0)}), outputs=(0, 2))
    parts = [*table.partition_ms[:3], table.block_ms[1], table.block_ms[0]]
    edges = [table.fusion_ms[1][0], table.fusion_ms[0][2]]  # block to block, and to the output of path 2
    assert table.network_ms(topology) == pytest.approx(sum(parts) + sum(edges), rel=1e-12)


def test_one_network_for_several_topologies_has_the_trunk_once():
    table = random_table(1)
    shallow, deep = Topology(1, frozenset(), (0,)), Topology(1, frozenset({(1, 2)}), (2,))
    assert (shallow.num_partitions, deep.num_partitions) == (1, 4)
    assert table.joint_ms([shallow, deep]) == pytest.approx(table.network_ms(deep))
    assert table.joint_ms([deep, deep]) == pytest.approx(2 * table.network_ms(deep) - table.trunk_ms)


def test_a_table_comes_back_to_the_bit(tmp_path):
    table = random_table(1)
    table.save(tmp_path / "latency.json")
    assert LatencyTable.load(tmp_path / "latency.json") == table
    assert LatencyTable.from_list(table.conditions, table.to_list()) == table


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:200],
        lambda text: "[]",
        lambda text: json.dumps({**json.loads(text), "block_ms": [1.0, 2.0, 3.0]}),
        lambda text: json.dumps({**json.loads(text), "block_ms": [1.0, 2.0, 3.0, -1.0]}),
        lambda text: json.dumps({**json.loads(text), "block_ms": [1.0, 2.0, 3.0, float("nan")]}),
        lambda text: json.dumps({**json.loads(text), "conditions": {"device": "abacus"}}),
        lambda text: json.dumps({**json.loads(text), "fusion_ms": None}),
    ],
)
def test_a_damaged_table_is_refused(damage, tmp_path):
    file = tmp_path / "latency.json"
    random_table(1).save(file)
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match="is damaged") as error:
        LatencyTable.load(file)
    assert "\n" not in str(error.value)
