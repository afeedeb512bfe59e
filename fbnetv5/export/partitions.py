"""Parts of a graph that a backend takes over: what goes in and out of one must not come from itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from torch import fx


def is_acyclic(graph: fx.Graph, owners: Mapping[fx.Node, int]) -> bool:
    """Return whether parts can be computed one after another.

    Args:
        graph: of the whole program.
        owners: the part of each node that is in one; the others are computed one by one.
    """
    sorter: TopologicalSorter[fx.Node | int] = TopologicalSorter()
    for node in graph.nodes:
        own = owners.get(node, node)
        inputs = {owners.get(source, source) for source in node.all_input_nodes if source.op == "call_function"}
        sorter.add(own, *(inputs - {own}))
    try:
        sorter.prepare()
    except CycleError:
        return False
    return True


def parts_by_depth(graph: fx.Graph, groups: Sequence[Iterable[fx.Node]]) -> dict[fx.Node, int]:
    """Return a part for each node of the groups: how often a way to it leaves the groups, at most.

    What lies on a way that leaves a part and comes back is then in a later part, so that there is no cycle.

    Args:
        graph: of the whole program.
        groups: nodes that a backend can compute, each in one part; no way leaves a group and comes back.
    """
    group_of = {node: number for number, group in enumerate(groups) for node in group}
    sources: dict[fx.Node | int, set[fx.Node]] = {}
    for node in graph.nodes:
        inputs = {source for source in node.all_input_nodes if source.op == "call_function"}
        sources.setdefault(group_of.get(node, node), set()).update(inputs)
    depths: dict[fx.Node | int, int] = {}
    order = TopologicalSorter(
        {own: {group_of.get(source, source) for source in inputs} - {own} for own, inputs in sources.items()}
    )
    for own in order.static_order():
        leaving = 1 if isinstance(own, int) else 0
        depths[own] = max(
            (
                depths[group_of.get(source, source)] + (leaving if source not in group_of else 0)
                for source in sources[own]
                if group_of.get(source, source) != own
            ),
            default=0,
        )
    return {node: depths[number] for node, number in group_of.items()}
