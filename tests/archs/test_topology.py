from __future__ import annotations

import re

import pytest

from fbnetv5.archs.topology import Edge, Topology, TopologySpace, named_topology, save_joint
from fbnetv5.base.errors import InputError

# Fig. 5: the drawings' edges, and those that the rule adds (all trunk partitions into a block of stage 1). Stage 0 is
# the trunk; outputs are left out.
FPN_DRAWN = {
    ((0, 3), (1, 3)),
    ((0, 2), (2, 2)),
    ((1, 3), (2, 2)),
    ((0, 1), (3, 1)),
    ((2, 2), (3, 1)),
    ((0, 0), (4, 0)),
    ((3, 1), (4, 0)),
}
FPN_ADDED = {((0, 0), (1, 3)), ((0, 1), (1, 3)), ((0, 2), (1, 3))}
PANET_DRAWN = FPN_DRAWN | {
    ((3, 1), (5, 1)),
    ((4, 0), (5, 1)),
    ((2, 2), (6, 2)),
    ((5, 1), (6, 2)),
    ((1, 3), (7, 3)),
    ((6, 2), (7, 3)),
}
BIFPN_DRAWN = {
    ((0, 2), (1, 2)),
    ((0, 3), (1, 2)),
    ((0, 1), (2, 1)),
    ((1, 2), (2, 1)),
    ((0, 0), (3, 0)),
    ((2, 1), (3, 0)),
    ((2, 1), (4, 1)),
    ((3, 0), (4, 1)),
    ((1, 2), (5, 2)),
    ((4, 1), (5, 2)),
    ((0, 3), (6, 3)),
    ((5, 2), (6, 3)),
}
BIFPN_ADDED = {((0, 0), (1, 2)), ((0, 1), (1, 2))}
# The block that each path's output carries, from path 0 to 3.
FPN_ENDS = ((4, 0), (3, 1), (2, 2), (1, 3))
PANET_ENDS = ((4, 0), (5, 1), (6, 2), (7, 3))
BIFPN_ENDS = ((3, 0), (4, 1), (5, 2), (6, 3))


@pytest.mark.parametrize(
    ("name", "edges", "ends"),
    [
        ("linear", set(), ((0, 0), (0, 1), (0, 2), (0, 3))),
        ("unet", FPN_DRAWN | FPN_ADDED, FPN_ENDS),
        ("fpn", FPN_DRAWN | FPN_ADDED, FPN_ENDS),
        ("panet", PANET_DRAWN | FPN_ADDED, PANET_ENDS),
        ("bifpn", BIFPN_DRAWN | BIFPN_ADDED, BIFPN_ENDS),
    ],
)
def test_edges_of_named_topologies(name, edges, ends):
    """With a stage to spare, the outputs are what the paths carry."""
    outputs = {(end, (9, path)) for path, end in enumerate(ends)}
    assert set(named_topology(name, 8).edges()) == edges | outputs


def test_blocks_of_the_last_stage_are_fused_into_every_output():
    outputs = {edge for edge in named_topology("panet", 7).edges() if edge.target[0] == 8}
    carried = {(end, (8, path)) for path, end in enumerate(PANET_ENDS)}
    assert outputs == carried | {((7, 3), (8, 0)), ((7, 3), (8, 1)), ((7, 3), (8, 2))}


def test_edges_without_stages_fuse_the_trunk_into_the_outputs():
    assert set(Topology(0, frozenset(), (1, 3)).edges()) == {
        Edge((0, source), (1, path)) for source in range(4) for path in (1, 3)
    }


def test_edges_of_a_supernet():
    """Every block reads all four of the stage before it, and so do the outputs."""
    edges = Topology.full(2).edges()
    assert len(edges) == len(set(edges)) == 3 * 16
    assert all(edge.target[0] == edge.source[0] + 1 for edge in edges)


def reaches(topology: Topology, block: tuple[int, int], paths: set[int]) -> bool:
    """Follow the feature of ``block`` forwards by the rule, without ``edges``."""
    stage, path = block
    later = [s for s in range(stage + 1, topology.num_stages + 1) if topology.active(s, path)]
    if path in paths and not later:
        return True
    if stage == topology.num_stages and paths:
        return True
    others = [(stage + 1, other) for other in range(4) if other != path and (stage + 1, other) in topology.blocks]
    return any(reaches(topology, reader, paths) for reader in others + [(s, path) for s in later[:1]])


@pytest.mark.parametrize("seed", range(50))
def test_pruning_keeps_exactly_the_blocks_that_reach_an_output(seed, random_topology):
    topology = random_topology(seed, 5)
    pruned = topology.prune(topology.outputs)
    assert pruned.outputs == topology.outputs
    assert pruned.blocks == {block for block in topology.blocks if reaches(topology, block, set(topology.outputs))}
    assert pruned.prune(topology.outputs) == pruned
    assert set(pruned.edges()) <= set(topology.edges())


def test_pruning_by_hand():
    unet = named_topology("unet", 5)
    assert unet.prune((3,)).blocks == {(1, 3)}
    assert unet.prune((2, 3)).blocks == {(1, 3), (2, 2)}
    assert unet.prune([0]).blocks == unet.blocks


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (Topology(1, frozenset(), (0,)), 1),
        (Topology(1, frozenset(), (0, 2)), 3),
        (Topology(2, frozenset({(2, 1)}), (0,)), 2),
        (Topology(2, frozenset({(1, 0)}), (0,)), 4),
        (Topology(0, frozenset(), (0,)), 4),
    ],
)
def test_trunk_partitions_needed(topology, expected):
    assert topology.num_partitions == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, {(3, 0)}), "path 0: stage 3"),
        ((2, {(0, 0)}), "path 0: stage 0"),
        ((2, {(1, 4)}), "path 4"),
        ((-1, set()), "num_stages is -1"),
        ((1, set(), ()), r"outputs \[\]"),
        ((1, set(), (2, 1)), r"outputs \[2, 1\]"),
        ((1, set(), (4,)), r"outputs \[4\]"),
    ],
)
def test_impossible_topologies_are_refused(arguments, message):
    num_stages, blocks, *outputs = arguments
    with pytest.raises(ValueError, match=message):
        Topology(num_stages, frozenset(blocks), *outputs)


def test_named_topologies_need_their_stages():
    with pytest.raises(InputError, match="topology 'bifpn'"):
        named_topology("bifpn", 5)
    with pytest.raises(InputError, match=re.escape("unknown topology 'pannet'; did you mean 'panet'?")):
        named_topology("pannet", 7)


def test_space_enumerates_topologies_stage_by_stage():
    space = TopologySpace(2, [10, 20, 30, 40, 10, 20, 30, 40])
    topology = space.decode([1, 0, 0, 0, 0, 0, 1, 1])
    assert topology == Topology(2, frozenset({(1, 0), (2, 2), (2, 3)}))
    assert space.num_options == (2,) * 8
    assert space.slot_names[3:5] == ("stage 1 / path 3", "stage 2 / path 0")
    assert space.option_costs[2:4] == ((0.0, 30.0), (0.0, 40.0))


def test_space_decodes_what_it_encodes():
    space = TopologySpace(1, [1, 2, 3, 4])
    topologies = [space.decode([code >> bit & 1 for bit in range(4)]) for code in range(16)]
    assert len(set(topologies)) == 16
    assert [space.decode(space.encode(topology)) for topology in topologies] == topologies


def test_space_refuses_what_is_not_its_own():
    space = TopologySpace(1, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="expected 4 choices of 0 or 1"):
        space.decode([0, 1, 0])
    with pytest.raises(ValueError, match="expected 4 choices of 0 or 1"):
        space.decode([0, 1, 0, 2])
    with pytest.raises(ValueError, match="the space has 1 stages, the topology 2"):
        space.encode(Topology.full(2))
    with pytest.raises(ValueError, match="8 slots"):
        TopologySpace(2, [1, 2, 3, 4])


def test_a_file_may_hold_the_topologies_of_several_tasks(tmp_path):
    topologies = {"cls": named_topology("linear", 4), "det": named_topology("unet", 4)}
    save_joint(tmp_path / "joint.yaml", topologies, {"run": "mine"})
    assert {task: Topology.load(tmp_path / "joint.yaml", task) for task in topologies} == topologies
    with pytest.raises(InputError, match="no topology of 'seg', but of cls, det"):
        Topology.load(tmp_path / "joint.yaml", "seg")
    with pytest.raises(InputError, match=r"topologies of several tasks \(cls, det\); model.tasks takes it"):
        Topology.load(tmp_path / "joint.yaml")
    topologies["cls"].save(tmp_path / "one.yaml")
    assert Topology.load(tmp_path / "one.yaml", "det") == topologies["cls"]
