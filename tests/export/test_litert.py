"""LiteRT files of every task agree with the trained model, in float32 and int8; the extra is not installed in CI."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.export.deployed import deploy
from fbnetv5.export.litert import scopes_of
from fbnetv5.export.litert_int8 import mean_ranges, quantised_scopes
from fbnetv5.export.runtime import load_exported
from scripts.export import main
from tests.export.models import CLASSES, FEW_BLOCKS, random_model, saved_run


def test_a_range_is_the_mean_of_the_images_ranges():
    ranges = [{"a": {"min": np.array([-1.0]), "max": np.array([top])}, "weights": {}} for top in (2.0, 4.0)]
    found = mean_ranges(ranges)
    assert (found["a"]["min"], found["a"]["max"]) == (-1, 3)
    assert found["weights"] == {}


@pytest.mark.usefixtures("short_family")
def test_scopes_name_the_layers_that_are_computed_in_int8():
    model = deploy(random_model("det", "SHORT", side=96, topology=FEW_BLOCKS["det"]), (96, 96))
    scopes = scopes_of(model, torch.zeros(1, 3, 96, 96))
    root = "fbnetv5.export.litert.NamedInput/fbnetv5.export.deployed.DeployedModel_model"
    assert scopes[""] == root
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            assert scopes[name].startswith(f"{root}/")
            assert scopes[name].endswith(f"/torch.nn.modules.conv.Conv2d_{name.rpartition('.')[2]}")
    assert "ModuleList" not in "".join(scopes.values())
    first = next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    assert re.search(quantised_scopes(scopes, []), f"{scopes[first]};4")
    assert not re.search(quantised_scopes(scopes, ["network.trunk.0"]), f"{scopes[first]};4")
    assert not re.search(quantised_scopes(scopes, []), f"{scopes['network']};4")  # a fusion


@pytest.fixture(scope="module")
def runs(short_family: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a training for each task, on the shapes data set, and both files of it beside."""
    pytest.importorskip("litert_torch", reason="the litert extra is not installed")
    root, folders = tmp_path_factory.mktemp("litert"), {}
    for task in CLASSES:
        folders[task] = saved_run(root, task)
        keys = ["export.num_calibration=8", "export.max_drop=null", "export.num_evaluated=4"]
        main([str(root / task), "--format", "litert", "--precision", "fp32,int8", *keys])
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("task", list(CLASSES))
def test_files_agree_with_the_trained_model(runs, task):
    found = json.loads((runs[task] / "export" / "model_fp32.tflite.json").read_text())
    differences = found["agreement"]
    assert differences.pop("max_box_difference", 0) < 0.1
    assert differences.pop("unmatched_boxes", 0) == 0
    assert differences.pop("share_of_pixels_that_differ", 0) < 1e-3
    assert differences.pop("max_score_difference", 0) < 1e-4
    assert not differences
    assert found["operators"]["LiteRT"]["CONV_2D"] > 10
    assert {one["dtype"] for one in found["outputs"]} <= {"float32", "int32", "uint8"}


@pytest.mark.slow
@pytest.mark.parametrize("task", list(CLASSES))
def test_int8_is_small_and_stays_close(runs, task):
    folder, image = runs[task] / "export", ShapesSource(1, 96, 7).load(0).image
    expected = load_exported(folder / "model_fp32.tflite").predict(image)
    found = load_exported(folder / "model_int8.tflite", threads=1).predict(image)
    if task == "cls":
        assert (expected - found).abs().max() < 0.2
    if task == "seg":
        assert (expected == found).float().mean() > 0.7
    if task == "det":
        assert set(found) == {"boxes", "box_labels", "scores"}
        assert found["box_labels"].dtype == torch.int64
    assert (folder / "model_int8.tflite").stat().st_size < 0.6 * (folder / "model_fp32.tflite").stat().st_size


@pytest.mark.slow
def test_a_file_that_is_none_is_refused(runs):
    file = runs["cls"] / "export" / "model_fp32.tflite"
    data, beside = file.read_bytes(), Path(f"{file}.json")
    said = json.loads(beside.read_text())
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="is cut off"):
        load_exported(file)
    file.write_bytes(data)
    said["input"]["shape"] = [1, 3, 64, 64]
    beside.write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"takes an image of \[1, 3, 96, 96\]"):
        load_exported(file)
