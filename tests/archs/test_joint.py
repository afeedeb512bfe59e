"""Joint networks: what each task gets equals what its own network gives, and nothing is computed or counted twice."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.archs.cost import Cost, measured_macs, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.joint import JointNet, joint_costs
from fbnetv5.archs.joint_plan import SHARES, BlockCall, make_plan
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import forked

FAMILY = get_family("NANO")
TOPOLOGIES = {
    "cls": Topology(3, frozenset({(1, 3), (2, 3), (3, 3)}), (3,)),
    "det": Topology(3, frozenset({(1, 3), (2, 3), (3, 1)}), (1,)),
    "seg": Topology(2, frozenset({(1, 2), (2, 3)}), (1, 3)),
}
SIZE = (64, 96)


def build(share: str, topologies: dict[str, Topology] = TOPOLOGIES) -> JointNet:
    with forked(0):
        return JointNet(FAMILY, topologies, share).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("share", SHARES)
@torch.no_grad()
def test_a_task_gets_what_its_own_network_gives(share):
    """From the first values on, which both take by name, and to the bit; also where a task is computed alone."""
    joint, images = build(share), torch.randn(2, 3, *SIZE)
    found = joint(images)
    for task, topology in TOPOLOGIES.items():
        with forked(0):
            alone = MultiPathNet(FAMILY, topology).eval()(images)
        assert found[task].keys() == alone.keys()
        for features in (found[task], joint(images, [task])[task]):
            assert all(torch.equal(features[path], feature) for path, feature in alone.items())


def test_names_are_the_supernets():
    supernet = set(MultiPathNet(FAMILY, Topology.full(3)).state_dict())
    assert set(build("blocks").state_dict()) <= supernet
    names = set(build("trunk").state_dict())
    of_det = {name.removeprefix("branches.det.") for name in names if name.startswith("branches.det.")}
    assert of_det == {n for n in MultiPathNet(FAMILY, TOPOLOGIES["det"]).state_dict() if n.startswith("blocks.")}
    assert {name for name in names if not name.startswith("branches.")} <= supernet


def test_what_tasks_have_in_common_is_one_step():
    """Blocks 1/3 and 2/3 of cls and det read the same; 2/3 of seg reads another, and is computed again."""
    calls = [(call.module, users) for call, users in make_plan(TOPOLOGIES, "blocks").calls()]
    assert sorted(calls, key=str) == [
        ("blocks.s1_p2", {"seg"}),
        ("blocks.s1_p3", {"cls", "det"}),
        ("blocks.s2_p3", {"cls", "det"}),
        ("blocks.s2_p3", {"seg"}),
        ("blocks.s3_p1", {"det"}),
        ("blocks.s3_p3", {"cls"}),
    ]
    steps = make_plan(TOPOLOGIES, "trunk").steps
    assert len({step.module for step in steps if isinstance(step, BlockCall)}) == 8
    first = [step for step in steps if not isinstance(step, BlockCall) and max(v for _, v in step.sources) < 4]
    assert len(first) == 2  # what the trunk gives path 3 is fused once for two tasks, and path 2 for one


@pytest.mark.parametrize("share", SHARES)
def test_costs_are_the_measured_ones_by_part(share):
    costs, joint = joint_costs(FAMILY, TOPOLOGIES, share, SIZE), build(share)
    whole = sum(costs.values(), Cost())
    assert whole.macs == measured_macs(joint, torch.zeros(1, 3, *SIZE))
    assert whole.params == sum(parameter.numel() for parameter in joint.parameters())
    if share == "trunk":
        for task, topology in TOPOLOGIES.items():
            alone = network_cost(FAMILY, topology, SIZE)
            assert costs["trunk"] + costs[task] == alone
    else:
        both, alone = (
            joint_costs(FAMILY, {t: TOPOLOGIES[t] for t in names}, share, SIZE) for names in (("cls", "det"), ("cls",))
        )
        assert both["shared"] + both["cls"] == alone["cls"]  # all but the last block of cls is det's too


def test_the_trunk_is_as_deep_as_the_deepest_task_needs_it():
    shallow = Topology(0, frozenset(), (0,))
    assert len(build("trunk", {"a": shallow}).trunk) == 4  # the output fuses all paths of stage 0
    flat = Topology(1, frozenset(), (1,))
    assert len(build("trunk", {"a": flat}).trunk) == 2
    assert len(build("trunk", {"a": flat, "b": TOPOLOGIES["cls"]}).trunk) == 4
