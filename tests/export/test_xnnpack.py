"""The forms that XNNPACK computes give the same features."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.archs.topology import Topology
from fbnetv5.config.read import CONFIGS
from fbnetv5.export.deployed import deploy
from fbnetv5.export.xnnpack import XNNPACKNetwork, for_xnnpack
from tests.export.models import random_model


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (72, 100)])  # of the last, features have odd sizes
@torch.no_grad()
def test_the_forms_compute_the_same(size: tuple[int, int]):
    model = deploy(random_model("det", topology=Topology.load(CONFIGS / "topologies" / "seg.yaml")), size)
    changed = for_xnnpack(model)
    assert isinstance(changed.network, XNNPACKNetwork)
    assert not isinstance(model.network, XNNPACKNetwork)
    assert not any(isinstance(module, torch.nn.Hardsigmoid) for module in changed.modules())
    image = torch.randn(1, 3, *size)
    expected, found = model.network(image), changed.network(image)
    assert expected.keys() == found.keys()
    for path, feature in expected.items():
        torch.testing.assert_close(found[path], feature, rtol=1e-3, atol=1e-3)
