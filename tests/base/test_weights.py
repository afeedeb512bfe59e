"""Weights in files load by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import load_by_name, read_weights, save_weights


def test_weights_load_by_name_and_say_what_differs(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"net.weight": torch.ones(2, 2), "heads.a.bias": torch.zeros(5)})
    module = nn.ModuleDict({"net": nn.Linear(2, 2, bias=False), "heads": nn.ModuleDict({"a": nn.Linear(3, 3)})})
    left = load_by_name(module, read_weights(path), optional="heads.", origin=path)
    assert module["net"].weight.eq(1).all()
    assert left == ["heads.a.weight", "heads.a.bias"]
    wider = nn.ModuleDict({"net": nn.Linear(2, 3, bias=False)})
    with pytest.raises(InputError, match=r"net.weight"):
        load_by_name(wider, read_weights(path), optional="heads.", origin=path)
