from __future__ import annotations

import dataclasses
import re

import pytest
import safetensors.torch
import timm
import torch
from fbnetv5.archs.timm_weights import load_timm_weights

from fbnetv5.archs import timm_weights
from fbnetv5.archs.families import FAMILIES, Family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.errors import InputError

LINEAR = named_topology("linear", 1)


@pytest.fixture(scope="module")
def timm_model():
    """timm's architecture with random weights and random BN statistics."""
    torch.manual_seed(0)
    model = timm.create_model("fbnetv3_b", pretrained=False).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model


def unpadded(family: Family) -> Family:
    """The family with the default padding everywhere, which is how timm builds it."""
    partitions = tuple(
        tuple(dataclasses.replace(layer, padding=layer.kernel // 2) for layer in layers) for layers in family.partitions
    )
    return dataclasses.replace(family, partitions=partitions)


def timm_features(model, images):
    """timm's feature maps of strides 4, 8, 16 and 32: the ends of its groups 1, 2, 4 and 5."""
    x = model.bn1(model.conv_stem(images))
    features = {}
    for group, path in enumerate((None, 0, 1, None, 2, 3)):
        x = model.blocks[group](x)
        if path is not None:
            features[path] = x
    return features


@pytest.mark.parametrize("family", ["A", "B"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", "nested.pth"])
def test_features_are_timms_own(family, suffix, timm_model, tmp_path):
    path = tmp_path / f"weights{suffix}"
    weights = timm_model.state_dict()
    if suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save({"state_dict": weights} if suffix == "nested.pth" else weights, path)
    network = MultiPathNet(unpadded(FAMILIES[family]), LINEAR).eval()
    load_timm_weights(network, path)
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        features, expected = network(images), timm_features(timm_model, images)
    for path_index in range(4):
        assert torch.equal(features[path_index], expected[path_index])


def test_pretrained_weights_come_from_timm_when_asked(timm_model, monkeypatch):
    asked = []
    monkeypatch.setattr(
        timm_weights.timm, "create_model", lambda *args, **kwargs: asked.append((args, kwargs)) or timm_model
    )
    network = MultiPathNet(FAMILIES["A"], Topology.full(1))
    blocks = {name: value.clone() for name, value in network.blocks.state_dict().items()}
    load_timm_weights(network)
    assert asked == [(("fbnetv3_b",), {"pretrained": True})]
    assert torch.equal(network.trunk[3][6].conv_pwl.weight, timm_model.blocks[5][6].conv_pwl.weight)
    assert all(torch.equal(value, blocks[name]) for name, value in network.blocks.state_dict().items())


def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm_weights.timm, "create_model", fail)
    with pytest.raises(InputError, match=r"no route to host\); give a local file instead"):
        load_timm_weights(MultiPathNet(FAMILIES["A"], LINEAR))


def test_a_pruned_trunk_takes_its_part(timm_model, tmp_path):
    torch.save(timm_model.state_dict(), tmp_path / "weights.pth")
    network = MultiPathNet(FAMILIES["A"], LINEAR.prune((1,)))
    load_timm_weights(network, tmp_path / "weights.pth")
    assert len(network.trunk) == 2
    assert torch.equal(network.trunk[1][4].conv_dw.weight, timm_model.blocks[2][4].conv_dw.weight)


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "blocks.4.2.se.conv_reduce.bias"), "blocks.4.2.se.conv_reduce.bias"),
        (lambda w: without(w, "conv_stem.weight"), "conv_stem.weight is missing"),
        (lambda w: {**w, "blocks.1.0.bn2.weight": torch.zeros(65)}, "blocks.1.0.bn2.weight"),
        (lambda w: {**w, "blocks.0.2.conv_dw.weight": torch.zeros(1)}, "blocks.0.2.conv_dw.weight"),
        (lambda w: {**w, "stem.weight": torch.zeros(1)}, "stem.weight is unknown"),
        (lambda w: {"a": torch.zeros(1)}, "conv_stem.weight is missing"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(change, message, timm_model, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(change(timm_model.state_dict()), path)
    network = MultiPathNet(FAMILIES["A"], LINEAR)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_timm_weights(network, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_other_families_are_refused(tmp_path):
    with pytest.raises(InputError, match="timm's fbnetv3_b"):
        load_timm_weights(MultiPathNet(FAMILIES["C"], LINEAR), tmp_path / "unread.pth")


class Planted:
    """Unpickling an instance would run code; only tensors may be read."""

    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize("kind", ["missing.pth", "missing.safetensors", "text.pth", "text.safetensors", "planted.pth"])
def test_files_that_cannot_be_read_are_named(kind, tmp_path, capsys):
    path = tmp_path / kind
    if kind.startswith("text"):
        path.write_text("not weights\n")
    elif kind.startswith("planted"):
        torch.save({"state_dict": Planted()}, path)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_timm_weights(MultiPathNet(FAMILIES["A"], LINEAR), path)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth"):
        load_timm_weights(MultiPathNet(FAMILIES["A"], LINEAR), tmp_path / "list.pth")
