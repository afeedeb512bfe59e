"""The reference topologies hold what their files claim; tests/scripts/test_cost_table.py checks what they cost."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.topology import Topology, named_topology

FOLDER = Path(__file__).parents[2] / "configs" / "topologies"
# Task, the paths its final head reads, and the numbers of blocks on paths 0 to 3 that give the published costs.
REFERENCES = [("cls", (3,), [2, 3, 1, 5]), ("det", (1,), [2, 6, 2, 4]), ("seg", (1, 3), [4, 6, 2, 5])]


@pytest.mark.parametrize(("task", "outputs", "num_blocks"), REFERENCES)
def test_blocks_and_what_the_heads_see(task, outputs, num_blocks):
    topology = Topology.load(FOLDER / f"{task}.yaml")
    assert (topology.num_stages, topology.outputs) == (7, outputs)
    assert [sum(path == other for _, other in topology.blocks) for path in range(NUM_PATHS)] == num_blocks
    assert topology.prune(outputs) == topology
    assert topology.num_partitions == NUM_PATHS


def test_every_stage_of_segmentation_up_to_the_sixth_rises_as_in_unet():
    topology = Topology.load(FOLDER / "seg.yaml")
    assert topology.blocks > named_topology("unet", 7).blocks
    stages = [[path for path in range(NUM_PATHS) if topology.active(stage, path)] for stage in range(1, 7)]
    means = [sum(paths) / len(paths) for paths in stages]
    assert all(later <= earlier for earlier, later in itertools.pairwise(means))
    assert means[-1] < means[0] == 3
