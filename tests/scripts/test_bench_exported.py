"""The benchmark of exported models: its peers compute what torchvision's do; no time is asserted."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks import exported_files, exported_models, exported_peers, exported_profile, exported_table
from benchmarks.exported_files import ExportedFile
from benchmarks.exported_timing import Timing, on_busy_machine, turn
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList

from fbnetv5.base.errors import InputError
from fbnetv5.export.lowered import Lowered
from fbnetv5.model.folder import save_model
from tests.model.test_task_net import build
from tests.on_request import ON_REQUEST
from tests.processes import run, script

ROOT = Path(__file__).parents[2]
NUM_CLASSES = 5  # one of them the background
NO_WEIGHTS = {"weights": None, "weights_backbone": None, "num_classes": NUM_CLASSES}


def file(model: str, macs: int, *, is_peer: bool = False, precision: str = "fp32") -> ExportedFile:
    path = f"{model}_{precision}.onnx"
    return ExportedFile(path, model, "cls", is_peer, "onnx", precision, 32, 64, macs, 2_000_000, 8_000_000, {}, "")


@torch.no_grad()
def settled(model: nn.Module, size: tuple[int, int]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Give a detector's backbone sane statistics; return the features of a random image, and the image."""
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    exported_models.settle(model.eval().backbone, image)
    return model.backbone(image), image


def assert_same_detections(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    count = int(found["count"])
    assert count == len(expected["scores"]) > 20
    torch.testing.assert_close(found["scores"][:count], expected["scores"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["boxes"][:count], expected["boxes"], rtol=1e-3, atol=1e-2)
    assert torch.equal(found["box_labels"][:count] + 1, expected["labels"])
    assert not found["boxes"][count:].any()


@torch.no_grad()
def test_ssd_finds_what_torchvision_does():
    torch.manual_seed(0)
    model = ssdlite320_mobilenet_v3_large(**NO_WEIGHTS, topk_candidates=exported_peers.NUM_CANDIDATES)
    features, image = settled(model, (320, 320))
    levels = list(features.values())
    anchors = model.anchor_generator(ImageList(image, [(320, 320)]), levels)
    (expected,) = model.postprocess_detections(model.head(levels), anchors, [(320, 320)])
    assert_same_detections(exported_peers.FixedSSD(model, (320, 320))(features), expected)


@torch.no_grad()
def test_faster_rcnn_finds_what_torchvision_does():
    torch.manual_seed(0)
    size = (96, 160)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(**NO_WEIGHTS, rpn_post_nms_top_n_test=20, box_score_thresh=0.1)
    features, image = settled(model, size)
    proposals, _ = model.rpn(ImageList(image, [size]), features)
    (expected,), _ = model.roi_heads(features, proposals, [size])
    assert_same_detections(exported_peers.FixedFasterRCNN(model, size)(features), expected)


def test_macs_of_faster_rcnn_grow_with_its_proposals_by_the_box_layers():
    size = (64, 64)
    macs = [
        exported_peers.faster_rcnn_macs(
            fasterrcnn_mobilenet_v3_large_320_fpn(**NO_WEIGHTS, rpn_post_nms_top_n_test=number), size
        )
        for number in (1, 4)
    ]
    assert macs[1] - macs[0] == 3 * (256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 5 * NUM_CLASSES)


def test_settled_layers_normalise():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)).eval()
    images = 5 + 3 * torch.randn(2, 3, 16, 16)
    exported_models.settle(layers, images)
    normalised = layers[:2](images)
    torch.testing.assert_close(normalised.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(normalised.std(dim=(0, 2, 3)), torch.ones(4), rtol=0, atol=1e-3)
    assert torch.equal(layers[3].running_var, torch.ones(4))  # it saw one value a channel and image


def test_per_mac_ours_is_compared_with_the_best_peer():
    timings = [
        Timing(file("ours", 500_000_000), 1, [3.0, 5.0, 40.0]),  # 10 ms for 10**9 MACs
        Timing(file("ours", 500_000_000), 2, [2.0]),
        Timing(file("fast", 250_000_000, is_peer=True), 1, [2.0]),  # 8
        Timing(file("fast", 250_000_000, is_peer=True), 2, [1.0]),
        Timing(file("slow", 250_000_000, is_peer=True), 1, [3.0]),  # 12
        Timing(file("slow", 250_000_000, is_peer=True), 2, [3.0]),
    ]
    assert exported_table.over_best_peer(timings[0], timings) == pytest.approx(10 / 8)
    assert exported_table.over_best_peer(timings[0], timings[:2]) is None
    text = exported_table.latency_text(timings)
    assert "| ours | 32x64 | 500 | 2.00 | 8.0 | 5.0 | 2.0 | 10.0 | 1.25 |" in text.splitlines()
    assert "| slow | 32x64 | 250 | 2.00 | 8.0 | 3.0 | 3.0 | 12.0 | 1.50 |" in text.splitlines()
    header, first, *_ = exported_table.latency_csv(timings).splitlines()
    assert header == "model,task,runtime,precision,input,macs,bytes,threads,ms,deviation_ms"
    assert first.startswith("ours,")
    assert first.endswith(",1,5.000,16.990")


def test_a_joint_file_is_compared_with_the_separate_ones():
    ms = {"both": 10.0, "both_cls": 6.0, "both_det": 9.0, "both_trunk": 4.0}
    timings = [Timing(replace(file(name, 1), joint="both"), 1, [value]) for name, value in ms.items()]
    (line,) = exported_table.joint_lines([*timings, Timing(file("other", 1), 1, [3.0])])
    assert line == (
        "both, onnx, fp32, 1 thread: 10.0 ms; the separate files 15.0 ms: 0.67 times; trunk 4.0 ms, trunk and branches "
        "11.0 ms: 0.91 times"
    )


def test_a_turn_has_a_call_that_is_not_timed():
    calls = []
    median_ms, fastest_ms, cpu_ms = turn(lambda image: calls.append(image) or [], torch.zeros(1), 0.0)
    assert median_ms >= fastest_ms > 0
    assert cpu_ms >= 0
    assert len(calls) == 4


def test_on_a_busy_machine_one_thread_is_told_in_cpu_time():
    one, two = (Timing(file("ours", 1), threads, [9.0, 7.0], [6.0, 5.0], [4.0, 3.0]) for threads in (1, 2))
    assert [timing.ms for timing in on_busy_machine([one, two])] == [3.5, 5.0]
    assert one.ms == 8.0


def event(name: str, ms: float, *, is_delegated_op: bool = False) -> SimpleNamespace:
    return SimpleNamespace(name=name, perf_data=SimpleNamespace(min=ms), is_delegated_op=is_delegated_op)


def test_events_are_summed_by_operator():
    rows = exported_profile.executorch_rows(
        [
            event("Convolution (NHWC) #1", 1.0, is_delegated_op=True),
            event("Convolution (NHWC) #2", 2.0, is_delegated_op=True),
            event("DELEGATE_CALL", 3.5),
            event("native_call_cat.out", 0.25),
            event("OPERATOR_CALL", 0.3),  # the same, with its preparation
        ]
    )
    assert {row.operator: (row.count, row.ms) for row in rows} == {
        "XNNPACK Convolution (NHWC)": (2, 3.0),
        "XNNPACK beside its operators": (1, 0.5),
        "cat.out": (1, 0.25),
    }
    nodes = [
        {"cat": "Node", "name": "a_kernel_time", "dur": 500, "args": {"op_name": "Conv"}},
        {"cat": "Node", "name": "b_kernel_time", "dur": 200, "args": {"op_name": "Conv"}},
        {"cat": "Node", "name": "a_kernel_time", "dur": 400, "args": {"op_name": "Conv"}},  # the second call
        {"cat": "Node", "name": "b_fence_before", "dur": 7, "args": {"op_name": "Conv"}},
        {"cat": "Session", "name": "model_run", "dur": 900},
    ]
    (row,) = exported_profile.onnx_rows(nodes)
    assert (row.operator, row.count, row.ms) == ("Conv", 2, pytest.approx(0.6))


def test_files_have_the_precision_that_they_are_called_by(monkeypatch, tmp_path):
    asked = []

    def convert(self, runtime, calibration, *, precision):
        asked.append((runtime, precision))
        return Lowered(b"a file")

    built = exported_models.Built(nn.Identity(), (32, 32), 1, 1)
    candidate = exported_models.Candidate("mine", "cls", False, "random", lambda: built)
    monkeypatch.setattr(exported_files.Converter, "convert", convert)
    monkeypatch.setattr(exported_files, "check_support", lambda *_: None)
    list(exported_files.exported_files([candidate], ["coreml"], ["fp32", "fp16"], tmp_path))
    assert asked == [("coreml", "fp32"), ("coreml", "fp16")]


def test_a_precision_that_a_runtime_lacks_is_refused_before_anything_is_exported(tmp_path):
    candidate = exported_models.Candidate("mine", "cls", False, "random", lambda: pytest.fail("built"))
    with pytest.raises(InputError, match="torchscript are written in fp32, not in fp16"):
        next(exported_files.exported_files([candidate], ["torchscript"], ["fp32", "fp16"], tmp_path))


def test_files_are_made_anew_after_a_change_to_any_head_or_topology():
    found = set(exported_models.sources())
    assert set((ROOT / "fbnetv5" / "heads").rglob("*.py")) < found
    assert set((ROOT / "configs" / "topologies").glob("*.yaml")) < found


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "scripts" / "bench_exported.py", *map(str, arguments))


@pytest.mark.slow
@ON_REQUEST
def test_a_trained_model_is_exported_once_and_timed(tmp_path):
    model = build("cls")
    save_model(tmp_path / "mine", model, model.spec)
    few = ["--runtimes=torchscript", "--precisions=fp32", "--threads=1", "--rounds=2", "--seconds=0.01"]
    arguments = ["--run", tmp_path / "mine", "--models=mine", *few, "--folder", tmp_path / "files"]
    done = bench(*arguments, "--output", tmp_path / "figures.json")
    assert done.returncode == 0, done.stderr
    assert "Classification, torchscript" in done.stdout
    (timing,) = json.loads((tmp_path / "figures.json").read_text())["timings"]
    written = tmp_path / "files" / "mine_fp32.pt"
    assert timing["file"]["num_bytes"] == written.stat().st_size
    assert timing["file"]["macs"] == model.cost(model.spec.input.nominal_size()).macs
    assert len(timing["round_ms"]) == len(timing["fastest_ms"]) == len(timing["cpu_ms"]) == 2

    before = written.stat().st_mtime_ns
    assert bench(*arguments).returncode == 0
    assert written.stat().st_mtime_ns == before
    with torch.no_grad():
        next(model.parameters()).add_(1)
    save_model(tmp_path / "mine", model, model.spec)
    assert bench(*arguments).returncode == 0
    assert written.stat().st_mtime_ns > before  # other weights


@pytest.mark.slow
def test_a_wrong_name_is_one_line():
    done = bench("--models=cls_a_b")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: there is no model 'cls_a_b'; did you mean 'cls_a_c'?")
    assert len(done.stderr.splitlines()) == 1
