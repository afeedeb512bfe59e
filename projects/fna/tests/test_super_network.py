"""The super network against the networks that it holds."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.archs.cost import measured_macs
from fbnetv5.projects.fna.network import FNANetwork
from fbnetv5.projects.fna.remap import candidate_prefix, collect_from_super_network
from fbnetv5.projects.fna.space import Space
from fbnetv5.projects.fna.spaces import residual_space
from fbnetv5.projects.fna.super_network import CandidateLayer, SuperNetwork
from fbnetv5.projects.fna.tests.networks import images, randomise, space

RESIDUAL = residual_space("tiny", "tiny", "basic", (16, 16, 32, 32), (1, 2, 1, 1))


def build(searched: Space) -> SuperNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SuperNetwork(searched)
    randomise(network)
    return network


def some_choices(searched: Space) -> list[int]:
    return [(3 * slot + 1) % options for slot, options in enumerate(searched.num_options)]


@pytest.mark.parametrize("searched", [space(), RESIDUAL], ids=["mobile", "residual"])
@torch.no_grad()
def test_a_path_is_the_network_of_its_choices(searched: Space):
    network, choices, x = build(searched), some_choices(searched), images(64, 48)
    weights = collect_from_super_network(network.state_dict(), searched, choices)
    alone = FNANetwork(searched.decode(choices).to_dict()).eval()
    alone.load_state_dict(weights, strict=True)
    expected, features = alone(x), network(x, choice=choices)
    assert network.channels == alone.channels
    assert network.strides == alone.strides
    assert features.keys() == expected.keys()
    assert all(torch.equal(features[path], expected[path]) for path in expected)


@torch.no_grad()
def test_one_hot_weights_are_a_choice():
    searched, x = space(), images(64, 48)
    network, choices = build(searched), some_choices(searched)
    weights = [torch.eye(options)[choice] for options, choice in zip(searched.num_options, choices, strict=True)]
    expected, features = network(x, choice=choices), network(x, weights=weights)
    for path, feature in features.items():
        torch.testing.assert_close(feature, expected[path])


@torch.no_grad()
def test_a_layer_is_the_weighted_sum_of_its_candidates():  # eq. 7
    candidates = space().stages[1][1]
    layer = CandidateLayer(candidates, 8, activation="relu6", bn_epsilon=1e-5)
    randomise(layer)
    x, weights = torch.randn(2, 8, 6, 6), torch.tensor([0.4, 0.1, 0.0, 0.2, 0.05, 0.05, 0.2])
    expected = sum(weight * layer(x, choice=number) for number, weight in enumerate(weights))
    torch.testing.assert_close(layer(x, weights=weights), expected)
    assert torch.equal(layer(x, choice=6), x)  # the identity


def test_only_the_path_takes_gradients_and_costs():
    searched = space()
    network, choices = build(searched).train(), some_choices(searched)
    sum(feature.square().mean() for feature in network(images(64, 64), choice=choices).values()).backward()
    on_path = {
        candidate_prefix(slot.stage, slot.layer, choice, residual=False) + "."
        for slot, choice in zip(searched.slots, choices, strict=True)
    }
    for name, parameter in network.named_parameters():
        expected = ".candidates." not in name or name.startswith(("blocks.0.", *on_path))
        assert (parameter.grad is not None) is expected, name

    class Path(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> dict[int, torch.Tensor]:
            return self.network(x, choice=choices)

    size = (64, 96)
    costs = searched.candidate_macs(size)
    total = searched.fixed_macs(size) + sum(row[choice] for row, choice in zip(costs, choices, strict=True))
    assert measured_macs(Path(), torch.zeros(1, 3, *size)) == total


def test_gradients_reach_the_weights():
    searched = space()
    network = build(searched).train()
    logits = [torch.zeros(options, requires_grad=True) for options in searched.num_options]
    features = network(images(64, 64), weights=[logit.softmax(0) for logit in logits])
    sum(feature.square().mean() for feature in features.values()).backward()
    assert all(logit.grad is not None and logit.grad.abs().sum() > 0 for logit in logits)


def test_exactly_one_of_choice_and_weights_is_taken():
    network, x = build(space()), images(32, 32)
    with pytest.raises(ValueError, match="give either a choice or weights"):
        network(x)
    with pytest.raises(ValueError, match="has 9 slots, got 1"):
        network(x, choice=[0])
