"""Parts of a graph for a backend: a cycle is seen, and parts by depth have none."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from fbnetv5.export.partitions import is_acyclic, parts_by_depth


def ladder(rungs: int) -> tuple[fx.Graph, list[fx.Node]]:
    """Two chains of supported calls, which calls that are not cross in turn; and the supported ones."""
    graph = fx.Graph()
    left = right = graph.placeholder("x")
    supported = []
    for number in range(rungs):
        left, right = graph.call_function(torch.relu, (left,)), graph.call_function(torch.relu, (right,))
        supported += [left, right]
        crossed = graph.call_function(torch.sort, (left if number % 2 else right,))
        left, right = (left, crossed) if number % 2 else (crossed, right)
    graph.output((left, right))
    return graph, supported


@pytest.mark.parametrize("rungs", [2, 5])
def test_parts_by_depth_have_no_cycle(rungs: int):
    graph, supported = ladder(rungs)
    assert is_acyclic(graph, {})
    assert not is_acyclic(graph, dict.fromkeys(supported, 0))  # what leaves it comes back
    parts = parts_by_depth(graph, [[node] for node in supported])
    assert parts.keys() == set(supported)
    assert len(set(parts.values())) < len(supported)
    assert is_acyclic(graph, parts)


def test_a_group_stays_together():
    graph = fx.Graph()
    first = graph.call_function(torch.relu, (graph.placeholder("x"),))
    outside = graph.call_function(torch.sort, (first,))
    scale = graph.call_function(torch.ones, (1,))
    last = graph.call_function(torch.mul, (outside, scale))
    graph.output(last)
    assert parts_by_depth(graph, [[first], [scale, last]]) == {first: 0, scale: 1, last: 1}
