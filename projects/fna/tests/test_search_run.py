"""Iterations of the differentiable search: what they compute, and what they leave alone."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.differentiable import Differentiable
from fbnetv5.projects.fna.network import FNANetwork
from fbnetv5.projects.fna.search_run import Schedule, SearchRun, architecture_step, weight_step
from fbnetv5.projects.fna.tests.search_runs import TINY, problem, use_tiny_space


@pytest.fixture
def run(tmp_path, monkeypatch) -> SearchRun:
    use_tiny_space(monkeypatch)
    built = Differentiable(lr=0.1, weights_first=0.0).build(problem(tmp_path))
    built.model.train()
    return built


def snapshot(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def changed(run, before):
    return {name for name, tensor in run.model.state_dict().items() if not torch.equal(tensor, before[name])}


class PassOf(torch.nn.Module):
    """The super network along one path, or through all candidates, for fvcore."""

    def __init__(self, network, **how):
        super().__init__()
        self.network = network
        self.how = how

    def forward(self, images):
        return self.network(images, **self.how)


def prefix(slot, candidate):
    return f"network.blocks.{slot.stage}.{slot.layer}.candidates.{candidate}."


def test_an_iteration_of_the_weights_costs_one_path(run):
    """Measured by fvcore: the path of a step has the MACs of the network of its choices, and no more."""
    images = torch.zeros(1, 3, *run.problem.size)
    for step in range(4):
        choice = run.alpha.sample(run.problem.config.seed, step)
        measured = measured_macs(PassOf(run.model.network, choice=choice), images)
        alone = FNANetwork(TINY.decode(choice).to_dict(), output_stride=run.problem.output_stride)
        assert measured == measured_macs(alone, images) == run.problem.macs(choice)
    shares = [torch.full((n,), 1 / n) for n in TINY.num_options]
    everything = measured_macs(PassOf(run.model.network, weights=shares), images)
    assert everything == run.problem.fixed_cost + sum(map(sum, run.problem.costs))


def test_an_iteration_of_the_weights_moves_its_path_alone(run):
    before = snapshot(run)
    batch = next(run.batches(0)).weights
    metrics = weight_step(run, 0, batch)
    choice = run.alpha.sample(run.problem.config.seed, 0)
    moved = changed(run, before)
    assert {"head.scores.weight", "network.conv_stem.weight"} <= moved
    for slot, option in zip(TINY.slots, choice, strict=True):
        for candidate, block in enumerate(slot.candidates):
            assert any(name.startswith(prefix(slot, candidate)) for name in moved) == (
                candidate == option and block is not None
            )
    assert metrics["path_macs"] == run.problem.macs(choice)
    assert torch.equal(run.alpha.distribution.logits, torch.zeros_like(run.alpha.distribution.logits))


def test_momentum_does_not_move_what_was_not_drawn(run):
    """Of two steps with different paths the second leaves alone what only the first computed."""
    batches = run.batches(0)
    weight_step(run, 0, next(batches).weights)
    first, second = (run.alpha.sample(run.problem.config.seed, step) for step in (0, 1))
    assert first != second
    before = snapshot(run)
    weight_step(run, 1, next(batches).weights)
    for slot, one, two in zip(TINY.slots, first, second, strict=True):
        if one != two:
            assert not {name for name in changed(run, before) if name.startswith(prefix(slot, one))}


def test_an_iteration_of_the_architecture_moves_the_architecture_alone(run):
    before = snapshot(run)
    batch = next(run.batches(0)).architecture
    metrics = architecture_step(run, 0, batch)
    assert {name for name in changed(run, before) if not name.endswith("num_batches_tracked")} == set()
    assert run.alpha.distribution.logits.abs().sum() > 0
    assert metrics["expected_macs"] == run.alpha.expected_cost()
    assert all(parameter.requires_grad for parameter in run.model.parameters())
    assert all(parameter.grad is None for parameter in run.model.parameters())


def test_the_architecture_follows_the_gradient_of_eq_7(run, monkeypatch):
    """The gradient that Adam gets is that of the loss through the softmax, by finite differences of alpha."""
    batch = next(run.batches(0)).architecture
    run.model.double()
    images = batch.images.double()
    run.problem.config.runtime.precision = "float64"
    run.alpha.cost_weight = 0.0
    logits = run.alpha.distribution.logits
    logits.copy_(torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)))

    def loss():
        shares = run.alpha.probabilities()
        rows = [row[:n] for row, n in zip(shares, TINY.num_options, strict=True)]
        with torch.no_grad():
            return run.model(images, batch.targets, batch.sizes, weights=rows)["loss_pixel"].item()

    differences = torch.zeros_like(logits[0])
    for slot, count in enumerate(TINY.num_options):
        for option in range(count):
            values = []
            for change in (1e-5, -1e-5):
                logits[0, slot, option] += change
                values.append(loss())
                logits[0, slot, option] -= change
            differences[slot, option] = (values[0] - values[1]) / 2e-5
    monkeypatch.setattr(run.alpha.optimizer, "step", lambda: None)
    architecture_step(run, 0, batch)
    given = run.alpha.optimizer.param_groups[0]["params"][0].grad[0]
    torch.testing.assert_close(given, differences, rtol=1e-3, atol=1e-7)


def test_the_architecture_learns_in_turn():
    schedule = Schedule(num_steps=10, first=4, every=2)
    assert [step for step in range(10) if schedule.is_due(step)] == [4, 6, 8]
    for step in range(11):
        assert schedule.num_due(step) == sum(schedule.is_due(earlier) for earlier in range(step))


def test_batches_come_from_their_splits_and_go_on_where_they_were(tmp_path, monkeypatch):
    use_tiny_space(monkeypatch)
    run = Differentiable(weights_first=0.34, weight_steps=2).build(problem(tmp_path))
    whole = list(run.batches(0))
    resumed = list(run.batches(3))
    assert [batches.architecture is not None for batches in whole] == [False, False, True, False, True, False]
    for one, two in zip(whole[3:], resumed, strict=True):
        assert one.weights.names == two.weights.names
        assert torch.equal(one.weights.images, two.weights.images)
        assert (one.architecture is None) == (two.architecture is None)
        assert one.architecture is None or torch.equal(one.architecture.images, two.architecture.images)
    splits = run.problem.splits
    own = {splits.weights.load(i).name for i in range(len(splits.weights))}
    others = {splits.architecture.load(i).name for i in range(len(splits.architecture))}
    assert {name for batches in whole for name in batches.weights.names} <= own
    assert {name for batches in whole if batches.architecture for name in batches.architecture.names} <= others
    assert not own & others


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"cost_weight": -1.0}, r"project\.method\.cost_weight=-1\.0"),
        ({"betas": (0.9, 1.0)}, r"project\.method\.betas=\[0\.9, 1\.0\]"),
        ({"weights_first": 1.0}, r"project\.method\.weights_first=1\.0"),
        ({"clip_norm": -1.0}, r"project\.method\.clip_norm=-1\.0"),
        ({"weight_steps": 0}, r"project\.method\.weight_steps=0"),
    ],
)
def test_options_out_of_their_range_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        Differentiable(**option)
