"""The processes of a run."""

from __future__ import annotations

import torch
from torch import nn

from fbnetv5.base.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def test_an_unused_parameter_gets_the_gradient_zero():
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    model[0](torch.ones(1, 2)).sum().backward()
    ALONE.sum_gradients(model.parameters())
    assert not model[1].weight.grad.any()
    assert model[0].weight.grad.all()
