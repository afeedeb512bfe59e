"""Seeds from timm, from files and from trained models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fbnetv5.archs.trunk_weights import PACKAGES, Package
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.folder import load, save_model
from fbnetv5.model.task_net import ModelSpec, build_model
from fbnetv5.projects.fna.network import FNANetwork, get_architecture
from fbnetv5.projects.fna.remap import remap_to_super_network
from fbnetv5.projects.fna.seeds import NETWORK_CLASS, load_seed
from fbnetv5.projects.fna.spaces import get_space
from fbnetv5.projects.fna.super_network import SuperNetwork
from fbnetv5.projects.fna.tests.networks import images, mobile
from fbnetv5.projects.fna.weights import network_shapes


def timm_weights(name: str) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_timms_weights(suffix: str, tmp_path: Path):
    weights = timm_weights("mobilenetv2_035")
    path = tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save({"state_dict": weights}, path)
    seed = load_seed("mobilenetv2_035", str(path))
    FNANetwork("mobilenetv2_035").load_state_dict(seed.weights, strict=True)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in seed.weights.items())
    space = get_space("mobilenetv2_035_seg")
    SuperNetwork(space).load_state_dict(remap_to_super_network(seed.weights, seed.architecture, space), strict=True)


def test_timms_own_weights_are_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked = []
    get_architecture("fbnetc_100")  # read before create_model is another
    model = timm.create_model("fbnetc_100")
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: asked.append((args, kwargs)) or model)
    seed = load_seed("fbnetc_100")
    assert asked == [(("fbnetc_100",), {"pretrained": True})]
    assert seed.origin == "timm's pretrained fbnetc_100"
    assert seed.weights.keys() == FNANetwork("fbnetc_100").state_dict().keys()


def test_a_download_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match=r"pretrained resnet18 \(no route to host\)"):
        load_seed("resnet18")


def write_config(folder: Path, **changes: object) -> None:
    options = {"_target_": NETWORK_CLASS, "architecture": mobile().to_dict()} | changes
    (folder / "config.json").write_text(json.dumps({"format": 1, "network": options}))


def test_the_folder_of_a_trained_model(tmp_path: Path):
    spec = ModelSpec(
        family=None,
        topology=None,
        head={"_target_": "fbnetv5.heads.classifier.Classifier"},
        classes=("cat", "dog"),
        input=InputSpec(32, crop=32),
        network={"_target_": NETWORK_CLASS, "architecture": "mobilenetv2_035"},
    )
    model = build_model(spec)
    save_model(tmp_path, model, model.spec)
    seed = load_seed(str(tmp_path))
    assert seed.architecture == get_architecture("mobilenetv2_035")
    expected = model.network.state_dict()
    assert seed.weights.keys() == expected.keys()
    assert all(torch.equal(tensor, seed.weights[name]) for name, tensor in expected.items())
    written = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(written.replace("fbnetv5.projects.", "projects."))  # as they were called
    assert load_seed(str(tmp_path)).weights.keys() == expected.keys()
    reloaded = load(tmp_path).eval()
    assert torch.equal(reloaded(images(32, 32))[0], model.eval()(images(32, 32))[0])


def test_folders_that_are_no_seeds_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot read .*config.json"):
        load_seed(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json is not JSON"):
        load_seed(str(tmp_path))
    write_config(tmp_path, _target_="other.Network")
    with pytest.raises(InputError, match="the model's network"):
        load_seed(str(tmp_path))
    write_config(tmp_path, architecture={"stem": {"channels": 8}})
    with pytest.raises(InputError, match=r"config.json: network.architecture"):
        load_seed(str(tmp_path))
    write_config(tmp_path)
    with pytest.raises(InputError, match="is a trained model with weights of its own"):
        load_seed(str(tmp_path), "weights.pth")
    save_file({"network.bn1.weight": torch.zeros(4)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"network.bn1.weight"):
        load_seed(str(tmp_path))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path):
    weights = timm_weights("mobilenetv2_035")
    path = tmp_path / "weights.safetensors"
    missing = dict(weights)
    del missing["blocks.1.0.conv_pw.weight"]
    save_file(missing, path)
    with pytest.raises(InputError, match=r"blocks.1.0.conv_pw.weight \[48, 8, 1, 1\]"):
        load_seed("mobilenetv2_035", str(path))
    save_file(weights | {"blocks.1.2.conv_pw.weight": torch.zeros(48, 8, 1, 1)}, path)
    with pytest.raises(InputError, match=r"does not have: blocks.1.2.conv_pw.weight \[48, 8, 1, 1\]"):
        load_seed("mobilenetv2_035", str(path))
    save_file(weights, path)
    with pytest.raises(InputError, match=r"conv_stem.weight"):
        load_seed("mobilenetv2_100", str(path))
    with pytest.raises(InputError, match="no pretrained weights of proxyless_mobile to download"):
        load_seed("proxyless_mobile")
    with pytest.raises(InputError, match="unknown architecture 'resnet_18'"):
        load_seed("resnet_18")
    with pytest.raises(InputError, match="the seed runs/seed"):
        load_seed("runs/seed")


@pytest.mark.parametrize("content", ["", "Quota exceeded for this file", "stem: {channels: 32}", "not a checkpoint"])
def test_files_that_hold_no_weights_are_refused(content: str, tmp_path: Path):
    path = tmp_path / "weights.pth"
    path.write_text(content)
    with pytest.raises(InputError, match=r"cannot read .*weights\.pth"):
        load_seed("mobilenetv2_035", str(path))
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match=r"conv_stem.weight \[16, 3, 3, 3\]"):
        load_seed("mobilenetv2_035", str(path))


def test_a_checkpoint_of_proxylessnas(tmp_path: Path):
    """Its blocks are numbered with gaps, where a layer is skipped, and its classifier has other names."""
    architecture = get_architecture("proxyless_mobile")
    expected = {name: torch.randn(shape) for name, shape in network_shapes(architecture).items()}
    mbconv = {"conv_pw": "inverted_bottleneck.conv", "conv_dw": "depth_conv.conv", "conv_pwl": "point_linear.conv"}
    mbconv |= {"bn1": "inverted_bottleneck.bn", "bn2": "depth_conv.bn", "bn3": "point_linear.bn"}
    separable = {"conv_dw": "depth_conv.conv", "bn1": "depth_conv.bn"}
    separable |= {"conv_pw": "point_linear.conv", "bn2": "point_linear.bn"}
    given = {"classifier.linear.bias": torch.zeros(1000)}
    for name, tensor in expected.items():
        if name.startswith("conv_stem"):
            given["first_conv.conv.weight"] = tensor
        elif name.startswith("bn1"):
            given[f"first_conv.bn.{name.split('.')[-1]}"] = tensor
        else:
            _, stage, index, module, entry = name.split(".")
            part = (separable if stage == "0" else mbconv)[module]
            given[f"blocks.{int(stage) * 5 + int(index)}.mobile_inverted_conv.{part}.{entry}"] = tensor
    torch.save({"state_dict": given}, tmp_path / "proxyless.pth.tar")
    seed = load_seed("proxyless_mobile", str(tmp_path / "proxyless.pth.tar"))
    assert seed.weights.keys() == expected.keys()
    assert all(torch.equal(seed.weights[name], tensor) for name, tensor in expected.items())
    shorter = dataclasses.replace(architecture, stages=architecture.stages[:-1])
    shorter.save(tmp_path / "shorter.yaml")
    with pytest.raises(InputError, match=r"has 20 blocks, the architecture 19"):
        load_seed(str(tmp_path / "shorter.yaml"), str(tmp_path / "proxyless.pth.tar"))


def test_an_architecture_of_timms_takes_an_installed_packages_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As a trunk does, by the core's reader, with the normalisation that comes with them."""
    given = timm_weights("mobilenetv2_035")
    (tmp_path / "some_weights" / "models").mkdir(parents=True)
    torch.save({f"w{n}": tensor for n, tensor in enumerate(given.values())}, tmp_path / "some_weights/models/w.pth")
    monkeypatch.syspath_prepend(tmp_path)
    grey = Normalisation((0.5,) * 3, (0.5,) * 3)
    monkeypatch.setitem(PACKAGES, "mobilenetv2_035", Package("some-weights", "some_weights", grey))
    seed = load_seed("timm/mobilenetv2_035")
    assert (seed.normalisation, seed.origin) == (grey, "the package some-weights")
    assert all(torch.equal(tensor, given[name]) for name, tensor in seed.weights.items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/efficientnet_b0", "blocks.0.0 has squeeze-excitation"),
        ("timm/tf_efficientnet_lite0", "blocks.1.0 has TensorFlow's padding"),
        ("timm/resnet18", "no network of mobile blocks"),
    ],
)
def test_networks_of_timms_that_are_no_architecture_are_refused(name: str, message: str):
    with pytest.raises(InputError, match=message):
        get_architecture(name)
