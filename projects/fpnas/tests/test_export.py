"""What is exported of FPNAS' models predicts what the trained model predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fbnetv5.base.seeding import forked, generator
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.deployed import DeployedModel, deploy, folded
from fbnetv5.export.formats import Converter
from fbnetv5.export.runtime import RUNTIMES
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from fbnetv5.projects.fna.tests.networks import randomise
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.macro import MACROS
from fbnetv5.projects.fpnas.network import FPNASNetwork
from fbnetv5.projects.fpnas.space import valid_types
from fbnetv5.projects.fpnas.tests.test_network import TINY

SIZE = (64, 104)  # PSPNet's feature has 8 x 13 positions
HEADS: dict[str, dict[str, Any]] = {
    "classifier": {"_target_": "fbnetv5.projects.fpnas.heads.classifier.PooledClassifier", "hidden_channels": 32},
    "psp": {"_target_": "fbnetv5.projects.fpnas.heads.psp.PSPNet", "hidden_channels": 8},
}
LAST_LAYERS = {"classifier": "classify", "psp": "scores"}


def model(name: str) -> TaskNet:
    """A model with random weights and BN statistics, and predictions that differ from place to place."""
    output_stride = {"classifier": None, "psp": 8}[name]
    spec = ModelSpec(
        family=None,
        topology=None,
        head=HEADS[name],
        classes=("a", "b", "c", "d"),
        input=InputSpec(short_side=64, multiple=8),
        network={
            "_target_": "fbnetv5.projects.fpnas.network.FPNASNetwork",
            "architecture": TINY.as_dict(),
            "output_stride": output_stride,
        },
    )
    with forked(0):
        built = build_model(spec)
        for parameter in built.head.get_submodule(LAST_LAYERS[name]).parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.1)
    return randomise(built).eval()


def image(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, *SIZE, generator=generator(seed))


def run(deployed: DeployedModel, runtime: str, calibration: list[Tensor] | None, folder: Path) -> dict[str, Tensor]:
    """Return what the file of a runtime gives for an image."""
    pytest.importorskip(runtime, reason="the export extra is not installed")
    file = folder / "model"
    file.write_bytes(Converter(deployed, SIZE).convert(runtime, calibration).data)
    return dict(zip(deployed(image()), RUNTIMES[runtime](file, 1).runner(image()), strict=True))


@pytest.mark.parametrize("macro", MACROS)
@torch.no_grad()
def test_networks_of_all_block_types_compute_the_same_without_batch_normalisation(macro: str):
    positions = MACROS[macro].positions
    for first in range(0, max(len(valid_types(at)) for at in positions), 7):
        types = tuple(valid_types(at)[(first + k) % len(valid_types(at))] for k, at in enumerate(positions))
        with forked(0):
            network = randomise(FPNASNetwork(Architecture(MACROS[macro], types).as_dict()))
        result = folded(network)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
        x = torch.randn(1, 3, 65, 49, generator=generator(0))
        expected = network(x)
        for path, feature in result(x).items():
            deviation = (feature - expected[path]).norm() / expected[path].std(dim=(2, 3)).norm()
            assert deviation < 1e-3, path  # of what differs between positions


@torch.no_grad()
def test_classes_are_the_same(tmp_path: Path):
    classifier = model("classifier")
    deployed, (expected,) = deploy(classifier, SIZE), classifier(image())
    assert expected.std() > 0.01
    for scores in (deployed(image())["scores"], run(deployed, "onnx", None, tmp_path)["scores"]):
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_segmentation_is_the_same_without_deep_supervision(tmp_path: Path):
    segmenter = model("psp")
    deployed, (expected,) = deploy(segmenter, SIZE), segmenter(image())
    (probabilities,) = segmenter.head.probabilities(segmenter.network(image()), SIZE)
    assert len(expected.unique()) > 1
    for outputs in (deployed(image()), run(deployed, "onnx", None, tmp_path)):
        assert outputs["segmentation"].dtype == torch.uint8
        assert (outputs["segmentation"] == expected).float().mean() > 0.999
        torch.testing.assert_close(outputs["confidence"], probabilities.amax(dim=0), rtol=1e-4, atol=1e-4)
    assert not any("aux" in name for name, _ in deployed.head.named_modules())


@pytest.mark.slow
@torch.no_grad()
def test_segmentation_in_int8_stays_close(tmp_path: Path):
    deployed = deploy(model("psp"), SIZE)
    expected = deployed(image())
    found = run(deployed, "onnx", [image(seed) for seed in range(4)], tmp_path)
    assert (found["segmentation"] == expected["segmentation"]).float().mean() > 0.7
    assert (found["confidence"] - expected["confidence"]).abs().mean() < 0.1
