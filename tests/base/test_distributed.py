"""The processes of a run, and their device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fbnetv5.base.distributed import World, pick_device
from fbnetv5.base.errors import InputError

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def test_an_unused_parameter_gets_the_gradient_zero():
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    model[0](torch.ones(1, 2)).sum().backward()
    ALONE.sum_gradients(model.parameters())
    assert not model[1].weight.grad.any()
    assert model[0].weight.grad.all()


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match="no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"
