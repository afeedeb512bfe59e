"""Every format of every task agrees with the trained model; int8 is small, and nothing falls back silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.export import runtime
from fbnetv5.export.executorch import PORTABLE
from fbnetv5.export.runtime import load_exported
from fbnetv5.export.sidecar import read_sidecar
from scripts.export import main
from tests.export.models import CLASSES, saved_run
from tests.on_request import ALL_TESTS, ON_REQUEST

pytest.importorskip("executorch", reason="the export extra is not installed")

EXPORTED = {  # ExecuTorch always for one task in float32 alone: lowering takes half a minute
    "cls": [("onnx", "fp32,int8"), ("executorch", "fp32,int8" if ALL_TESTS else "fp32")],
    "det": [("onnx", "fp32,int8"), *([("executorch", "fp32")] if ALL_TESTS else [])],
    "seg": [("onnx", "fp32,int8"), *([("executorch", "fp32")] if ALL_TESTS else [])],
}
pytestmark = pytest.mark.usefixtures("short_family")


@pytest.fixture(scope="module")
def runs(short_family: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a training for each task, on the shapes data set, and all formats of it beside."""
    root = tmp_path_factory.mktemp("runs")
    folders = {}
    for task in CLASSES:
        folders[task] = saved_run(root, task)
        keys = ["export.num_calibration=8", "export.max_drop=null", "export.num_evaluated=4"]
        for formats, precisions in EXPORTED[task]:
            main([str(root / task), "--format", formats, "--precision", precisions, *keys])
    return folders


def sidecar(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "export" / f"{name}.json").read_text())


def test_other_threads_than_the_process_has_are_refused_once_a_file_is_loaded(tmp_path: Path, monkeypatch):
    (tmp_path / "model.pte").touch()
    monkeypatch.setattr(runtime, "_programs", {tmp_path / "other.pte"})
    with pytest.raises(InputError, match=r"threads=77: this process runs \.pte files with \d+, since it loaded one"):
        runtime.RUNTIMES["executorch"](tmp_path / "model.pte", 77)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "task"),
    [
        *(("onnx", task) for task in CLASSES),
        ("pte", "cls"),
        *(pytest.param("pte", task, marks=ON_REQUEST) for task in ("det", "seg")),
    ],
)
def test_float_files_agree_with_the_trained_model(runs: dict[str, Path], task: str, suffix: str):
    found = sidecar(runs[task], f"model_fp32.{suffix}")
    differences = found["agreement"]
    assert differences.pop("max_box_difference", 0) < 0.1
    assert differences.pop("unmatched_boxes", 0) == 0
    assert differences.pop("share_of_pixels_that_differ", 0) < 1e-3
    assert differences.pop("max_score_difference", 0) < 1e-4
    assert not differences
    assert abs(found["metrics"]["drop_in_points"]) < 0.05
    assert found["input"]["shape"] == [1, 3, 96, 96]
    assert found["macs"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "precision"),
    [
        ("cls", "fp32"),
        pytest.param("cls", "int8", marks=ON_REQUEST),
        *(pytest.param(task, "fp32", marks=ON_REQUEST) for task in ("det", "seg")),
    ],
)
def test_executorch_says_what_each_backend_took_over(runs: dict[str, Path], task: str, precision: str):
    found = sidecar(runs[task], f"model_{precision}.pte")
    macs, operators = found["macs_by_backend"], found["operators"]["XNNPACK"]
    assert macs["XNNPACK"] / sum(macs.values()) >= 0.95
    assert sum(macs.values()) >= found["macs"]
    assert operators["aten.convolution.default"] > 20
    if task == "cls" and precision == "fp32":  # of what is left one joins the image's size, two numbers
        assert set(found["operators"][PORTABLE]) <= {"aten.cat.default", "aten.select_copy.int"}
    if precision == "int8":  # the weights of each convolution but those that average channels between paths
        quantised = operators["quantized_decomposed.dequantize_per_channel.default"]
        assert operators["aten.convolution.default"] - 4 <= quantised <= operators["aten.convolution.default"] + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "suffix"),
    [pytest.param("cls", "pte", marks=ON_REQUEST), ("cls", "onnx"), ("det", "onnx"), ("seg", "onnx")],
)
def test_int8_runs_and_stays_close(runs: dict[str, Path], task: str, suffix: str):
    folder = runs[task] / "export"
    image = ShapesSource(1, 96, 7).load(0).image
    expected = load_exported(folder / f"model_fp32.{suffix}").predict(image)
    found = load_exported(folder / f"model_int8.{suffix}").predict(image)
    if task == "cls":
        assert (expected - found).abs().max() < 0.2
    if task == "seg":
        assert (expected == found).float().mean() > 0.7
    if task == "det":
        assert set(found) == {"boxes", "box_labels", "scores"}
    assert (folder / f"model_int8.{suffix}").stat().st_size < 0.6 * (folder / f"model_fp32.{suffix}").stat().st_size


@pytest.mark.slow
def test_files_that_cannot_be_used_are_refused(runs: dict[str, Path], tmp_path: Path):
    folder = runs["cls"] / "export"
    for suffix in ("pte", "onnx"):
        data = (folder / f"model_fp32.{suffix}").read_bytes()
        description = (folder / f"model_fp32.{suffix}.json").read_text()
        file = tmp_path / f"model.{suffix}"
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"\.json cannot be read"):
            load_exported(file)
        Path(f"{file}.json").write_text(description)
        assert load_exported(file).classes
        with pytest.raises(InputError, match=r"takes float32 \[1, 3, 96, 96\]"):
            load_exported(file).run(torch.zeros(1, 3, 64, 64))
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match="is cut off"):
            load_exported(file)
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(InputError, match="checksums differ"):
            load_exported(file)
        file.write_bytes(data)
        changed = json.loads(description)
        changed["input"]["shape"] = [1, 3, 64, 64]
        Path(f"{file}.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=r"takes an image of \[1, 3, 96, 96\]"):
            load_exported(file)
        Path(f"{file}.json").write_text(description[:100])
        with pytest.raises(InputError, match="is not JSON"):
            read_sidecar(file)
        Path(f"{file}.json").write_text(description.replace('"format": 1', '"format": 3'))
        with pytest.raises(InputError, match="format 3"):
            read_sidecar(file)
        Path(f"{file}.json").write_text(description.replace('"kind": "scalar"', '"kind": "sclr"'))
        with pytest.raises(InputError, match="is damaged"):
            read_sidecar(file)
    with pytest.raises(InputError, match="there is no such file"):
        load_exported(tmp_path / "other.pte")
