"""Correction of the milliseconds of parts by whole networks of which a few were measured.

Parts do not add up to a network: a file has a start of its own, features stay in a runtime's format where parts convert
them, and what is in a cache differs. :mod:`fbnetv5.latency.predictor` fits, in relative errors, how much more or less
the sum counts, its trunk, blocks and fusions, each block and way to fuse, and what one more block or fusion and a
network and a head at all take. All of it is affine in the parts, so the result is a table again, whose sums are the
predictions: what a search counts with remains a sum over blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.topology import Topology
from fbnetv5.latency.predictor import LatencyPredictor, fit_predictor
from fbnetv5.latency.table import NUM_VALUES, LatencyTable

Array = npt.NDArray[np.float64]
KINDS = (slice(0, NUM_PATHS), slice(NUM_PATHS, 2 * NUM_PATHS), slice(2 * NUM_PATHS, NUM_VALUES))
FUSIONS = KINDS[-1]


class MeasuredNetwork(NamedTuple):
    """A whole network with a head, and its milliseconds.

    Attributes:
        topology: as the head sees it, pruned.
        head: its name in the table.
        ms: of an image.
    """

    topology: Topology
    head: str
    ms: float


def corrected(table: LatencyTable, networks: Sequence[MeasuredNetwork]) -> LatencyTable:
    """Return a table whose sums predict these networks, and others like them, better.

    Args:
        table: of parts, with the networks' heads, as measured.
        networks: of the family, of many topologies; from about a dozen.
    """
    ms = np.array([network.ms for network in networks])
    counts = np.array([part_counts(network.topology) for network in networks])
    expected = np.array([predicted_ms(table, network.topology, network.head) for network in networks])
    heads = sorted(table.head_ms)
    has_head = np.array([[float(network.head == head) for head in heads] for network in networks])
    values = np.array(table.to_list())
    predictor = fit_predictor(_features(counts, values, has_head), ms, expected, scale=ms)
    return _folded(table, predictor, heads, len(networks))


def part_counts(topology: Topology) -> Array:
    """Return how often a network has each part, in the order of ``LatencyTable.to_list``."""
    counts = np.zeros(NUM_VALUES)
    counts[: topology.num_partitions] = 1
    for _, path in topology.blocks:
        counts[NUM_PATHS + path] += 1
    for source, target in topology.edges():
        counts[NUM_PATHS * (2 + source[1]) + target[1]] += source[1] != target[1]
    return counts


def predicted_ms(table: LatencyTable, topology: Topology, head: str) -> float:
    """Return the sum of a network's parts and its head's milliseconds."""
    return table.network_ms(topology) + table.head_ms[head]


def _features(counts: Array, values: Array, heads: Array) -> dict[str, Array]:
    spent = counts * values
    return {
        "sum": spent.sum(axis=1, keepdims=True),
        "kinds": np.stack([spent[:, kind].sum(axis=1) for kind in KINDS], axis=1),
        "numbers": np.stack([counts[:, kind].sum(axis=1) for kind in KINDS], axis=1),
        "parts": spent,
        "heads": heads,
    }


def _folded(table: LatencyTable, predictor: LatencyPredictor, heads: Sequence[str], count: int) -> LatencyTable:
    """Return the table whose sums are what the predictor says; no part takes less than nothing."""
    weights, values = predictor.weights, np.array(table.to_list())
    result = values * (1 + weights["sum"][0] + weights["parts"])
    for number, kind in enumerate(KINDS):
        added = np.full(len(values[kind]), weights["numbers"][number])
        if kind == FUSIONS:
            added[:: NUM_PATHS + 1] = 0  # a path is not fused into itself
        result[kind] += weights["kinds"][number] * values[kind] + added
    result[0] += predictor.constant  # which every network has, as the first partition
    result = np.maximum(result, 0.0)
    added_by = dict(zip(heads, weights["heads"], strict=True))
    head_ms = {head: max(0.0, ms + float(added_by[head])) for head, ms in table.head_ms.items()}
    folded = LatencyTable.from_list(table.conditions, result.tolist())
    return replace(folded, head_ms=head_ms, corrected_by=count)
