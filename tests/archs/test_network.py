from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fbnetv5.archs import fusion
from fbnetv5.archs.families import FAMILIES
from fbnetv5.archs.fusion import to_higher_resolution, to_lower_resolution
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, named_topology
from tests.on_request import some_on_request

NANO = FAMILIES["NANO"]
NUM_STAGES = 4


def same(left: dict[int, Tensor], right: dict[int, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[path], right[path]) for path in left)


@pytest.fixture
def supernet(random_network):
    return random_network(NANO, Topology.full(NUM_STAGES))


@pytest.fixture
def images():
    return torch.randn(2, 3, 75, 53, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seed", range(25))
def test_a_network_with_the_supernets_weights_computes_the_supernets_features(seed, supernet, random_topology, images):
    topology = random_topology(seed, NUM_STAGES)
    weights = supernet.state_dict()
    with torch.no_grad():
        expected = supernet(images, topology)
        for built in (topology, topology.prune(topology.outputs)):
            network = MultiPathNet(NANO, built).eval()
            network.load_state_dict({name: weights[name] for name in network.state_dict()}, strict=True)
            assert same(network(images), expected)
            assert same(supernet(images, built), expected)


@pytest.mark.parametrize("seed", range(10))
def test_pruning_leaves_the_kept_features_alone(seed, supernet, random_topology, images):
    blocks = random_topology(seed, NUM_STAGES).blocks
    with torch.no_grad():
        features = supernet(images, Topology(NUM_STAGES, blocks))
        for path in range(4):
            assert torch.equal(supernet(images, Topology(NUM_STAGES, blocks).prune((path,)))[path], features[path])


@pytest.mark.parametrize("seed", range(10))
def test_pruned_blocks_are_those_without_a_gradient(seed, supernet, random_topology, images):
    topology = random_topology(seed, NUM_STAGES)
    sum(feature.square().sum() for feature in supernet(images, topology).values()).backward()
    names = [f"s{stage}_p{path}" for stage, path in sorted(topology.prune(topology.outputs).blocks)]
    gradients = {name: [p.grad for p in block.parameters()] for name, block in supernet.blocks.items()}
    assert [name for name in gradients if any(g is not None and g.abs().sum() > 0 for g in gradients[name])] == names


def resampled(x: Tensor, source: int, target: int, size: tuple[int, int]) -> Tensor:
    resample = to_lower_resolution if source < target else to_higher_resolution
    return resample(x, NANO.channels[target], size)


def test_features_of_a_small_topology_by_hand(random_network, images):
    """S = 2 with the blocks (1, 3) and (2, 1), each step written out."""
    net = random_network(NANO, Topology(2, frozenset({(1, 3), (2, 1)})))
    with torch.no_grad():
        t0 = net.trunk[0](images)
        t1 = net.trunk[1](t0)
        t2 = net.trunk[2](t1)
        t3 = net.trunk[3](t2)
        sizes = [tuple(t.shape[2:]) for t in (t0, t1, t2, t3)]
        into_block = t3 + resampled(t0, 0, 3, sizes[3]) + resampled(t1, 1, 3, sizes[3]) + resampled(t2, 2, 3, sizes[3])
        h3 = net.blocks["s1_p3"](into_block)
        h1 = net.blocks["s2_p1"](t1 + resampled(h3, 3, 1, sizes[1]))
        expected = {
            0: t0 + resampled(h1, 1, 0, sizes[0]),
            1: h1,
            2: t2 + resampled(h1, 1, 2, sizes[2]),
            3: h3 + resampled(h1, 1, 3, sizes[3]),
        }
        assert same(net(images), expected)


def test_without_stages_the_trunk_is_fused_into_the_outputs(random_network, images):
    net = random_network(NANO, Topology(0, frozenset(), (1, 2)))
    with torch.no_grad():
        trunk = []
        x = images
        for partition in net.trunk:
            trunk.append(x := partition(x))
        for path, feature in net(images).items():
            size = tuple(trunk[path].shape[2:])
            others = [resampled(trunk[source], source, path, size) for source in range(4) if source != path]
            assert torch.equal(feature, trunk[path] + others[0] + others[1] + others[2])


@pytest.mark.parametrize("seed", range(10))
def test_gates_of_zero_and_one_are_a_topology(seed, supernet, random_topology, images):
    topology = random_topology(seed, NUM_STAGES)
    gates = torch.tensor(
        [[float(topology.active(stage, path)) for path in range(4)] for stage in range(1, NUM_STAGES + 1)]
    )
    with torch.no_grad():
        expected = supernet(images, topology)
        features = supernet(images, Topology(NUM_STAGES, Topology.full(NUM_STAGES).blocks, topology.outputs), gates)
    for path in topology.outputs:
        assert torch.allclose(features[path], expected[path], rtol=1e-5, atol=1e-5)


def test_a_gate_blends_a_block_and_scales_what_it_gives(random_network, images):
    net = random_network(NANO, Topology(1, frozenset({(1, 2)})))
    gates = torch.zeros(1, 4)
    gates[0, 2] = 0.25
    gates.requires_grad_()
    with torch.no_grad():
        unselected, selected = net(images, Topology(1, frozenset())), net(images)
    features = net(images, gates=gates)
    carried = 0.25 * selected[2] + 0.75 * unselected[2]
    assert torch.allclose(features[2], carried, atol=1e-5)
    sent = 0.25 * resampled(selected[2], 2, 1, tuple(unselected[1].shape[2:]))  # of the block, not of the blend
    assert torch.allclose(features[1], unselected[1] + sent, atol=1e-5)
    features[2].sum().backward()
    assert gates.grad[0, 2] == pytest.approx((selected[2] - unselected[2]).sum().item(), rel=1e-3)
    gates.grad = None
    net(images, gates=gates)[1].sum().backward()  # what it sends is linear in the gate, at 0 too
    sent = resampled(selected[2], 2, 1, tuple(unselected[1].shape[2:]))
    assert gates.grad[0, 2] == pytest.approx(sent.sum().item(), rel=1e-3)


def test_only_the_edges_of_the_topology_are_computed(supernet, random_topology, images, monkeypatch):
    calls = []
    for name in ("to_lower_resolution", "to_higher_resolution"):
        resample = getattr(fusion, name)
        monkeypatch.setattr(fusion, name, lambda *args, f=resample: calls.append(args) or f(*args))
    for seed in range(10):
        topology = random_topology(seed, NUM_STAGES)
        calls.clear()
        supernet(images, topology)
        fused = [edge for edge in topology.edges() if edge.source[1] != edge.target[1]]
        assert len(calls) == len(fused)


def test_only_the_trunk_that_is_needed_runs(supernet, images):
    ran = []
    for index, partition in enumerate(supernet.trunk):
        partition.register_forward_hook(lambda *_, index=index: ran.append(index))
    supernet(images, named_topology("linear", NUM_STAGES).prune((1,)))
    assert ran == [0, 1]


def test_what_was_not_built_is_named(images):
    network = MultiPathNet(NANO, Topology(2, frozenset({(2, 0)}), (0,)))
    with pytest.raises(ValueError, match="trunk partition 1"):
        network(images, Topology(2, frozenset({(2, 0)}), (0, 1)))
    network = MultiPathNet(NANO, Topology(2, frozenset({(2, 0)})))
    with pytest.raises(ValueError, match="stage 1, path 3 was not built"):
        network(images, Topology(2, frozenset({(2, 0), (1, 3)})))
    with pytest.raises(ValueError, match=r"gates are \[1, 4\]"):
        network(images, gates=torch.ones(1, 4))


@pytest.mark.parametrize("name", FAMILIES)
def test_strides_and_channels_of_every_family(name):
    family = FAMILIES[name]
    network = MultiPathNet(family, named_topology("linear", 1)).eval()
    with torch.no_grad():
        features = network(torch.zeros(1, 3, 256, 128))
    assert tuple(features[path].shape[1] for path in range(4)) == network.channels == family.channels
    for path, stride in enumerate((4, 8, 16, 32)):
        height, width = features[path].shape[2:]
        assert abs(height - 256 / stride) <= 1
        assert abs(width - 128 / stride) <= 1


@pytest.mark.parametrize("name", some_on_request(["panet", "bifpn"], {"panet"}))
def test_networks_export(name, random_network, images):
    network = random_network(NANO, named_topology(name, 7).prune((1, 3)))
    program = torch.export.export(network, (images,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    more = torch.cat([images, images + 1])
    with torch.no_grad():
        exported, expected = program.module()(more), network(more)
    for path in (1, 3):
        assert torch.allclose(exported[path], expected[path], atol=1e-5)


def test_channels_last_stays(supernet, images):
    with torch.no_grad():
        features = supernet.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in features.values())


def test_networks_of_one_seed_share_the_first_values_of_what_both_have_and_of_what_is_built_after_them():
    built = []
    for name, outputs in (("linear", (3,)), ("fpn", (0, 3)), ("bifpn", (1, 2))):
        torch.manual_seed(7)
        network = MultiPathNet(NANO, named_topology(name, 7).prune(outputs))
        built.append((network.state_dict(), torch.randn(5)))
    supernet = MultiPathNet(NANO, Topology.full(7))
    torch.manual_seed(7)
    other = MultiPathNet(NANO, Topology.full(7)).state_dict()
    for weights, after in built:
        assert all(torch.equal(tensor, other[name]) for name, tensor in weights.items())
        assert torch.equal(after, built[0][1])
    weights = supernet.state_dict()
    assert not torch.equal(weights["trunk.0.0.conv.weight"], other["trunk.0.0.conv.weight"])
    assert not torch.equal(weights["blocks.s1_p1.0.conv_pw.weight"], weights["blocks.s2_p1.0.conv_pw.weight"])
