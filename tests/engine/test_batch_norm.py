"""BN statistics of a sub-network: by hand, and what they are for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.seeding import forked, generator
from fbnetv5.engine.batch_norm import recalibrate_bn, recalibrated_bn
from fbnetv5.heads.classifier import MBPoolClassifier


def images(count: int = 3, size: int = 6) -> list[Tensor]:
    rng = generator(0)
    return [torch.randn(size, 3, 32, 32, generator=rng) * (1 + i) + i for i in range(count)]


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_statistics_are_the_plain_average_over_batches():
    bn = nn.BatchNorm2d(3, momentum=0.1)
    bn(torch.randn(4, 3, 5, 5) + 9)
    batches = images()
    recalibrate_bn(bn, bn, batches)
    torch.testing.assert_close(bn.running_mean, torch.stack([x.mean(dim=(0, 2, 3)) for x in batches]).mean(dim=0))
    torch.testing.assert_close(bn.running_var, torch.stack([x.var(dim=(0, 2, 3)) for x in batches]).mean(dim=0))
    assert bn.momentum == 0.1
    assert bn.training


def test_a_later_layer_sees_what_its_sub_network_computes():
    with forked(0):
        network = MultiPathNet(get_family("NANO"), Topology.full(2))
    topology, seen = Topology(2, frozenset({(1, 3), (2, 0)}), (0, 3)), []
    last = [m for m in network.blocks["s2_p0"].modules() if isinstance(m, nn.BatchNorm2d)][-1]
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    recalibrate_bn(network, lambda x: network(x, topology), images())
    assert len(seen) == 3
    torch.testing.assert_close(last.running_mean, torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0))
    torch.testing.assert_close(last.running_var, torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0))


def test_all_else_stays_as_it_was():
    with forked(0):
        network = MultiPathNet(get_family("NANO"), Topology.full(2))
    network.train().trunk[1].eval()
    for x in images():
        network(x)
    before, modes = state(network), [m.training for m in network.modules()]
    topology = Topology(2, frozenset({(1, 3)})).prune((3,))
    with recalibrated_bn(network, lambda x: network(x, topology), images(2)):
        within = state(network)
    assert same(before, network.state_dict())
    recalibrate_bn(network, lambda x: network(x, topology), images(2))
    assert same(within, network.state_dict())
    changed = {name for name in before if not torch.equal(before[name], within[name])}
    assert {name.rsplit(".", 1)[1] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    assert {name.split(".")[1] for name in changed if name.startswith("blocks")} == {"s1_p3"}
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())


def test_dropout_is_off_meanwhile():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3))
    recalibrate_bn(model, model, images(1))
    torch.testing.assert_close(model[1].running_mean, images(1)[0].mean(dim=(0, 2, 3)))


def test_nothing_changes_without_a_batch_or_where_one_fails():
    bn = nn.BatchNorm2d(3)
    before = state(bn)
    with pytest.raises(ValueError, match="from no batch"):
        recalibrate_bn(bn, bn, [])
    with pytest.raises(ValueError, match="expected 4D input"):
        recalibrate_bn(bn, bn, [images()[0], torch.zeros(3)])
    assert same(before, state(bn))
    assert bn.momentum == 0.1


def test_a_sub_networks_loss_in_evaluation_comes_closer_to_that_in_training():
    num_stages, rng = 3, generator(1)
    space = TopologySpace(num_stages, [1.0] * 4 * num_stages)
    with forked(0):
        network = MultiPathNet(get_family("NANO"), Topology.full(num_stages))
        head = MBPoolClassifier(network.channels[3], 5, hidden_channels=32)
    model = nn.ModuleList([network, head])
    batches, labels = torch.randn(4, 16, 3, 32, 32, generator=rng), torch.arange(16) % 5

    def forward(x: Tensor, topology: Topology) -> Tensor:
        return F.cross_entropy(head(network(x, topology)[3]), labels)

    def drawn() -> Topology:
        return space.decode(torch.randint(2, (4 * num_stages,), generator=rng).tolist()).prune((3,))

    with torch.no_grad():
        for _ in range(40):
            for x in batches:
                forward(x, drawn())
        for _ in range(5):
            topology = drawn()
            before = state(model)
            trained = torch.stack([forward(x, topology) for x in batches])
            model.load_state_dict(before)
            model.eval()
            as_supernet = torch.stack([forward(x, topology) for x in batches])
            with recalibrated_bn(model, lambda x, topology=topology: forward(x, topology), batches):
                own = torch.stack([forward(x, topology) for x in batches])
            model.train()
            assert (own - trained).abs().mean() < (as_supernet - trained).abs().mean()
