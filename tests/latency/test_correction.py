"""Correcting the sum of parts by whole networks."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from fbnetv5.archs.topology import Topology
from fbnetv5.latency.correction import MeasuredNetwork, corrected, part_counts, predicted_ms
from fbnetv5.latency.table import LatencyTable
from tests.latency.tables import random_table
from tests.latency.test_table import random_blocks

TABLE = replace(random_table(4), head_ms={"cls": 0.5, "seg": 4.0})


def networks(first: int, count: int, ms_of) -> list[MeasuredNetwork]:
    found = []
    for seed in range(first, first + count):
        head = random.Random(seed).choice(["cls", "seg"])
        topology = random_blocks(seed, 4).prune((3,) if head == "cls" else (1, 3))
        found.append(MeasuredNetwork(topology, head, ms_of(topology, head)))
    return found


def test_counts_times_values_are_the_networks_milliseconds():
    for seed in range(8):
        topology = random_blocks(seed, 3).prune((seed % 4,))
        assert part_counts(topology) @ np.array(TABLE.to_list()) == pytest.approx(TABLE.network_ms(topology), rel=1e-12)


def test_what_parts_cost_together_is_learnt_from_few_networks():
    def ms_of(topology: Topology, head: str) -> float:
        counts = part_counts(topology)
        values = counts * np.array(TABLE.to_list())
        kinds = 0.4 + values[:4].sum() + 0.7 * values[4:8].sum() + 0.8 * values[8:].sum()
        return float(kinds + 0.05 * counts[4:8].sum() + {"cls": 0.5, "seg": 3.0}[head])

    better = corrected(TABLE, networks(0, 24, ms_of))
    unseen = networks(100, 30, ms_of)

    def errors(table: LatencyTable) -> np.ndarray:
        return np.array([abs(predicted_ms(table, each.topology, each.head) / each.ms - 1) for each in unseen])

    assert np.median(errors(better)) < 0.01
    assert np.median(errors(TABLE)) > 0.05
    assert better.corrected_by == 24
    assert all(better.fusion_ms[path][path] == 0 for path in range(4))


def test_a_table_that_is_right_stays(tmp_path):
    exact = networks(0, 12, lambda topology, head: predicted_ms(TABLE, topology, head))
    better = corrected(TABLE, exact)
    assert better.to_list() == pytest.approx(TABLE.to_list(), rel=1e-3, abs=1e-3)
    better.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == better
    assert better.described.endswith(", corrected by 12 networks")
