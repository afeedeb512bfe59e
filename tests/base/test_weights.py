"""Weights in files load by name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import load_by_name, read_normalisation, read_origin, read_weights, save_weights


def test_where_weights_come_from_stands_in_their_file(tmp_path):
    file, origin = tmp_path / "w.safetensors", Origin("timm's pretrained x", "apache-2.0")
    save_weights(file, {"a": torch.zeros(1)}, IMAGENET, origin)
    assert (read_origin(file), read_normalisation(file)) == (origin, IMAGENET)
    save_weights(file, {"a": torch.zeros(1)}, origin=Origin.of("/home/ada/runs/my_search/model.safetensors"))
    assert read_origin(file) == Origin("my_search/model.safetensors", None)
    assert Origin.of("https://host/w.pth").weights == "https://host/w.pth"
    assert Origin.of("timm's pretrained x", "mit") == Origin("timm's pretrained x", "mit")
    save_weights(file, {"a": torch.zeros(1)})
    assert read_origin(file) is None
    save_weights(file, {"a": torch.zeros(1)}, IMAGENET)
    assert read_origin(file) is None
    save_file({"a": torch.zeros(1)}, file, {"normalisation": '{"origin": {}}'})
    with pytest.raises(InputError, match="cannot read where its weights come from"):
        read_origin(file)


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
