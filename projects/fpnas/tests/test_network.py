"""The network: features, costs, sharing by identity, dilation, and the core's jobs around it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.folder import load, save_model
from fbnetv5.model.task_net import ModelSpec, build_model
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.macro import MACROS, Macro, Place
from fbnetv5.projects.fpnas.network import FPNASNetwork
from fbnetv5.projects.fpnas.space import block_type, valid_types

TINY = Architecture.of(
    Macro(
        Place(8, 2), Place(8), (Place(8, 2), Place(8), Place(16, 2), Place(16), Place(24, 2), Place(24), Place(32, 2))
    ),
    ["conv k3e6", "split-concat k3e6", "conv k5e6", "add k5e8", "conv k3e6", "split-add-concat k3e6", "conv k3e6"],
)


def drawn(macro: str, seed: int) -> Architecture:
    draws = random.Random(seed)
    return Architecture(MACROS[macro], tuple(draws.choice(valid_types(at)) for at in MACROS[macro].positions))


@pytest.mark.parametrize(("macro", "size"), [("cifar10", (32, 32)), ("imagenet", (65, 33))])
def test_macs_agree_with_fvcore_and_sizes_with_strides(macro: str, size: tuple[int, int]):
    architecture = drawn(macro, seed=len(macro))
    network = FPNASNetwork(architecture.as_dict()).eval()
    images = torch.randn(1, 3, *size)
    features = network(images)
    assert network.macs(size) == measured_macs(network, images)
    assert architecture.cost(size).params == sum(parameter.numel() for parameter in network.parameters())
    for path, feature in features.items():
        assert feature.shape[1] == network.channels[path]
        assert feature.shape[-2:] == tuple(-(-side // network.strides[path]) for side in size)
    assert [path for path in range(4) if network.channels[path]] == sorted(features)


def test_paths_end_before_the_strides():
    assert FPNASNetwork(TINY.as_dict()).channels == (8, 16, 24, 32)
    cifar = FPNASNetwork(drawn("cifar10", 0).as_dict())
    assert (cifar.channels, cifar.strides) == ((0, 32, 96, 320), (1, 1, 2, 4))


def test_a_whole_network_scripts_and_exports():
    network = FPNASNetwork(TINY.as_dict()).eval()
    images = torch.randn(1, 3, 32, 32)
    expected = network(images)
    for other in (torch.jit.script(network), torch.export.export(network, (images,)).module()):
        torch.testing.assert_close(other(images), expected)


def test_parameters_are_named_by_position_and_type():
    network = FPNASNetwork(TINY.as_dict())
    assert "blocks.1.split_concat_k3e6.conv.conv_pw.weight" in network.state_dict()
    assert "blocks.0.conv_k3e6.conv_pw.weight" in network.state_dict()


def test_networks_share_all_but_the_block_that_changes():
    network = FPNASNetwork(TINY.as_dict())
    other = network.sharing(3, block_type("split-cross-concat k3e8"))
    assert other.architecture == TINY.with_type(3, block_type("split-cross-concat k3e8"))
    assert other.channels == network.channels
    own, shared = dict(network.named_parameters()), dict(other.named_parameters())
    assert all(own[name] is shared[name] for name in own if not name.startswith("blocks.3."))
    assert not {name for name in own if name.startswith("blocks.3.")} & set(shared)
    buffers, shared_buffers = dict(network.named_buffers()), dict(other.named_buffers())
    assert all(buffers[name] is shared_buffers[name] for name in buffers if not name.startswith("blocks.3."))


def test_a_multiplier_widens_and_a_stride_dilates():
    wide = FPNASNetwork(TINY.as_dict(), multiplier=2.0)
    assert wide.channels == (16, 32, 48, 64)
    dilated = FPNASNetwork(TINY.as_dict(), output_stride=8).eval()
    assert (dilated.channels, dilated.strides) == ((8, 16, 24, 32), (4, 8, 8, 8))
    images = torch.randn(1, 3, 32, 32)
    features = dilated(images)
    assert {path: feature.shape[-1] for path, feature in features.items()} == {0: 8, 1: 4, 2: 4, 3: 4}
    assert dilated.macs((32, 32)) == measured_macs(dilated, images)
    assert [name for name, _ in dilated.named_parameters()] == [
        name for name, _ in FPNASNetwork(TINY.as_dict()).named_parameters()
    ]
    with pytest.raises(InputError, match="multiplier=0 is not above 0"):
        FPNASNetwork(TINY.as_dict(), multiplier=0)


def test_a_model_folder_holds_the_architecture(tmp_path: Path):
    TINY.save(tmp_path / "a.yaml")
    spec = ModelSpec(
        family=None,
        topology=None,
        head={"_target_": "fbnetv5.projects.fpnas.heads.classifier.PooledClassifier", "hidden_channels": 32},
        classes=("cat", "dog", "fish"),
        input=InputSpec(short_side=32, crop=32),
        network={"_target_": "fbnetv5.projects.fpnas.network.FPNASNetwork", "architecture": str(tmp_path / "a.yaml")},
    )
    model = build_model(spec).eval()
    save_model(tmp_path / "model", model, model.spec)
    (tmp_path / "a.yaml").unlink()
    assert "split-concat k3e6" in json.dumps(json.loads((tmp_path / "model" / "config.json").read_text()))
    loaded = load(tmp_path / "model").eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(images), model(images))
    macs = model.network.macs((32, 32)) + model.head.macs([(8, 8), (4, 4), (2, 2), (1, 1)])  # type: ignore[operator, union-attr]
    assert model.cost().macs == macs
    assert measured_macs(model, images[:1]) == macs
    losses = model.train()(images, [{"label": 0}, {"label": 2}])
    assert set(losses) == {"loss_label"}
