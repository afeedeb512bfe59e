"""The boxes and lines that are drawn of a topology, each with whether an output sees it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from fbnetv5.archs.topology import ALL_PATHS, Block, Edge, Topology

State = Literal["used", "unused", "skipped", "output"]
Kind = Literal["path", "trunk", "down", "up"]


class Line(NamedTuple):
    """An edge to draw: along a path, down the trunk, or a fusion down (to lower resolution) or up."""

    edge: Edge
    kind: Kind
    used: bool


def box_states(topology: Topology) -> dict[Block, State]:
    """Return the state of the trunk's partitions (stage 0), of every block, and of the outputs (stage S + 1) there are.

    A block is used if an output sees it, unused if it is selected all the same, and skipped otherwise.
    """
    kept = topology.prune(topology.outputs)
    states: dict[Block, State] = {(0, path): "used" if path < kept.num_partitions else "unused" for path in ALL_PATHS}
    for block in sorted(Topology.full(topology.num_stages).blocks):
        states[block] = "used" if block in kept.blocks else "unused" if block in topology.blocks else "skipped"
    return states | {(topology.num_stages + 1, path): "output" for path in topology.outputs}


def lines(topology: Topology) -> list[Line]:
    """List the trunk's own edges and all of ``topology.edges()``; an edge is used if an output sees its target."""
    states = box_states(topology)
    drawn = []
    for edge in [*(Edge((0, path), (0, path + 1)) for path in ALL_PATHS[:-1]), *topology.edges()]:
        step = edge.target[1] - edge.source[1]
        kind: Kind = "trunk" if edge.target[0] == 0 else "path" if step == 0 else "down" if step > 0 else "up"
        drawn.append(Line(edge, kind, states[edge.target] != "unused"))
    return drawn


def described(name: str, topology: Topology) -> str:
    """Say which blocks a topology has."""
    rows = []
    for path in ALL_PATHS:
        stages = [str(stage) for stage, other in sorted(topology.blocks) if other == path]
        rows.append(f"stride {4 << path}: {'stages ' + ', '.join(stages) if stages else 'none'}")
    return f"Blocks selected for {name}. {'; '.join(rows)}."
