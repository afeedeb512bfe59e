"""Groups of parameters and their rates over a run."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fbnetv5.config.optimizer import OptimizerConfig, ScheduleConfig
from fbnetv5.engine.optim import build_optimizer, rate_factor, set_lr


def factors(schedule: ScheduleConfig, num_steps: int = 100, steps_per_epoch: float = 10.0) -> list[float]:
    return [rate_factor(schedule, step, num_steps, steps_per_epoch) for step in range(num_steps)]


def test_multistep_is_the_papers_search_schedule():
    schedule = ScheduleConfig(name="multistep", milestones=[3125], gamma=0.1)
    rates = [0.96 * rate_factor(schedule, step, 9375, 1.0) for step in (0, 3124, 3125, 9374)]
    assert rates == pytest.approx([0.96, 0.96, 0.096, 0.096])


def test_exponential_is_the_papers_training_schedule():
    schedule = ScheduleConfig(name="exponential", unit="epoch", gamma=0.9875, warmup=11, warmup_start=0.01 / 4)
    rate = lambda epoch: 4.0 * rate_factor(schedule, epoch * 313, 1100 * 313, 313)  # noqa: E731
    assert rate(0) == pytest.approx(0.01)
    assert rate(11) == pytest.approx(4.0 * 0.9875**11)
    assert rate(100) == pytest.approx(4.0 * 0.9875**100)


def test_cosine_falls_from_one_to_zero():
    values = factors(ScheduleConfig(name="cosine"))
    assert values[0] == 1
    assert values[50] == pytest.approx(0.5)
    assert values[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert values == sorted(values, reverse=True)


def test_cosine_ends_at_the_final_rate():
    schedule = ScheduleConfig(name="cosine", final=0.25)
    assert rate_factor(schedule, 0, 100, 1.0) == 1
    assert rate_factor(schedule, 50, 100, 1.0) == pytest.approx(0.625)
    assert rate_factor(schedule, 100, 100, 1.0) == pytest.approx(0.25)


def test_cosine_restarts_are_torchs():
    """FPNAS, Section 4.1: T0 = 10 and Tmult = 2, from 0.02 to 1e-4."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2, eta_min=1e-4)
    schedule = ScheduleConfig(name="cosine_restarts", unit="epoch", cycle=10, cycle_growth=2, final=1e-4 / 0.02)
    for step in range(75 * 4):
        theirs.step(step / 4)
        assert 0.02 * rate_factor(schedule, step, 300, 4.0) == pytest.approx(theirs.get_last_lr()[0])


def test_warmup_is_a_line():
    values = factors(ScheduleConfig(name="constant", warmup=10, warmup_start=0.5))
    assert values[:3] == pytest.approx([0.5, 0.55, 0.6])
    assert set(values[10:]) == {1.0}


def test_biases_and_bn_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, free = build_optimizer(model, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(free["params"]) == 3


def test_poly_is_a_power_of_what_is_left():
    values = factors(ScheduleConfig(name="poly", power=0.9))
    assert values[0] == 1
    assert values[25] == pytest.approx(0.75**0.9)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_backbone_has_a_rate_of_its_own(name):
    model = nn.ModuleDict({"network": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(model, OptimizerConfig(name=name, backbone_factor=0.1), {"head.weight"})
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == 4
    assert rates[id(model["network"].weight)] == pytest.approx(0.1 * rates[id(model["head"].weight)])
    assert decays[id(model["network"].weight)] > 0
    assert decays[id(model["head"].weight)] == decays[id(model["head"].bias)] == 0
    set_lr(optimizer, 3.0)
    assert sorted({g["lr"] for g in optimizer.param_groups}) == pytest.approx([0.3, 3.0])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_parameter_may_have_its_first_gradient_later_than_others(name: str):
    model = nn.ModuleDict({"first": nn.Linear(2, 2), "later": nn.Linear(2, 2)})
    optimizer = build_optimizer(model, OptimizerConfig(name=name, lr=0.1, momentum=0.9))
    start = model["later"].weight.detach().clone()
    for names in (("first",), ("first", "later"), ("later",)):
        optimizer.zero_grad(set_to_none=True)
        sum(model[name].weight.square().sum() for name in names).backward()
        optimizer.step()
        if names == ("first",):
            assert torch.equal(model["later"].weight, start)
    assert not torch.equal(model["later"].weight, start)
