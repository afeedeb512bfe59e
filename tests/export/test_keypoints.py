"""A model of keypoints as a file: the same points, and what the command line writes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from fbnetv5.base.seeding import forked
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.deployed import deploy
from fbnetv5.export.describe import describe
from fbnetv5.export.formats import Converter
from fbnetv5.export.rating import FixedSizeModel
from fbnetv5.export.runtime import load_exported
from fbnetv5.export.sidecar import write_sidecar
from fbnetv5.model.task_net import ModelSpec, build_model
from scripts.run_exported import main
from tests.export.models import FEW_BLOCKS
from tests.export.test_deployed import photo

pytest.importorskip("onnx", reason="the export extra is not installed")
SIZE = (64, 96)


@torch.no_grad()
def test_a_file_finds_the_same_keypoints_and_they_are_drawn(tmp_path: Path):
    spec = ModelSpec(
        family="NANO",
        topology=FEW_BLOCKS["cls"],
        head={"_target_": "fbnetv5.heads.simple_baseline.SimpleBaseline", "hidden_channels": 8},
        classes=("nose", "left hand", "right hand"),
        input=InputSpec(short_side=64, multiple=32),
    )
    with forked(0):
        model = build_model(spec).eval()
        for module in model.head.modules():
            if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d)):
                nn.init.normal_(module.weight)
    deployed = deploy(model, SIZE)
    file = tmp_path / "model.onnx"
    lowered = Converter(deployed, SIZE).convert("onnx")
    file.write_bytes(lowered.data)
    write_sidecar(
        file,
        describe(model, deployed, SIZE, lowered, runtime="onnx", precision="fp32", num_calibration=0, float_parts=()),
    )
    exported, image = load_exported(file), photo(90, 70)  # upright: padded on the right
    torch.testing.assert_close(
        exported.predict(image), FixedSizeModel(model, SIZE).predict(image), rtol=1e-4, atol=1e-3
    )
    (output,) = exported.sidecar.outputs
    assert (output["name"], output["shape"]) == ("keypoints", [3, 3])
    assert output["meaning"]
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    main([str(file), str(tmp_path / "photo.png"), "--output", str(tmp_path / "out")])
    document = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())
    assert document["categories"][0]["keypoints"] == list(model.classes)
    assert list((tmp_path / "out" / "drawn").iterdir())
