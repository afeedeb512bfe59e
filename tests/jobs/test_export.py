"""The job export: what it refuses, TorchScript, the script that runs a file, and parts that go back to float32."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.cli import commands
from fbnetv5.config.read import CONFIGS, load_config
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.progress import ExportProgress
from fbnetv5.export.sidecar import add_milliseconds, milliseconds_of, read_sidecar, sidecar_path
from fbnetv5.jobs import export, export_images
from fbnetv5.model.exports import files_of
from fbnetv5.model.folder import save_model
from scripts import run_exported
from scripts.export import main
from tests.data.test_dataset import LABEL, Damaged
from tests.export.models import CONFIG, FEW_BLOCKS, random_model
from tests.export.test_sidecar import exported


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of a detector on the shapes data set, whose name has a quote."""
    folder = tmp_path_factory.mktemp("runs") / "it's mine"
    model = random_model("det", topology=FEW_BLOCKS["det"], classes=ShapesSource(1, 64, 0).classes["boxes"])
    save_model(folder, model, model.spec)
    (folder / "config.yaml").write_text(CONFIG.format(name="det"))
    return folder


def refused(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main([str(run), *arguments])
    return capsys.readouterr().err


def test_what_cannot_be_exported_is_refused(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "config.yaml: there is no such file" in refused(tmp_path, capsys)
    assert "both sides should be multiples of 32" in refused(run, capsys, "export.size=[96,100]")
    assert "elsewhere" in refused(run, capsys, "export.model=elsewhere")
    assert "export.formats: pte is none of executorch, onnx" in refused(run, capsys, "--format", "pte")
    assert "export.precisions: bf16 is none of fp32, fp16, int8" in refused(run, capsys, "--precision", "bf16")
    assert "files for torchscript are written in fp32, not in int8" in refused(
        run, capsys, "--format", "torchscript", "--precision", "int8"
    )
    assert "unknown key 'export.sizes'" in refused(run, capsys, "export.sizes=[1,2]")
    message = refused(run, capsys, "export.size=[96,64]", "export.float_parts=[network.trunk.9]")
    assert "the model has no part 'network.trunk.9'; did you mean 'network.trunk." in message
    assert not list(run.glob("export/*.p*"))


@pytest.mark.parametrize("file", sorted((CONFIGS / "export").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_configs_name_the_model_that_their_training_writes(file: Path):
    config = load_config(file)
    training = file.read_text().partition("defaults: [/")[2].partition(",")[0]
    assert config.job == "export"
    assert config.export.model == load_config(CONFIGS / f"{training}.yaml").output


def test_int8_is_calibrated_on_the_models_own_classes(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    model = random_model("det", topology=FEW_BLOCKS["det"], classes=("cat", "dog"))
    save_model(tmp_path, model, model.spec)
    (tmp_path / "config.yaml").write_text(CONFIG.format(name="det"))
    assert "whose classes of 'boxes' are not the model's" in refused(tmp_path, capsys, "--precision", "int8")


def test_what_a_file_takes_stays_known_when_the_same_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        export, "_export_partial", lambda _, runtime, __, file: exported(file.parent, file.name, runtime)
    )
    file = export.export_one(None, "onnx", "fp32", tmp_path)  # type: ignore[arg-type]
    add_milliseconds(file, read_sidecar(file).sha256, "a phone", 3.0)
    export.export_one(None, "onnx", "fp32", tmp_path)  # type: ignore[arg-type]
    assert milliseconds_of(sidecar_path(file)).by_condition == {"a phone": 3.0}


def test_several_models_are_exported_by_one_command(run: Path, tmp_path: Path):
    for name in ("a", "b"):
        shutil.copytree(run, tmp_path / "curve" / name, ignore=shutil.ignore_patterns("export"))
    only_file = [
        "export.num_evaluated=1",
        "export.size=[96,64]",
        "export.formats=[torchscript]",
        "export.precisions=[fp32]",
    ]
    commands.main(["export", str(tmp_path / "curve"), *only_file])
    assert all((tmp_path / "curve" / name / "export" / "model_fp32.pt").is_file() for name in ("a", "b"))


def test_torchscript_and_the_script_that_runs_a_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main([str(run), "--format", "torchscript", "export.num_evaluated=4", "export.size=[96,64]"])
    file = run / "export" / "model_fp32.pt"
    found = json.loads(Path(f"{file}.json").read_text())
    assert "| model_fp32.pt | torchscript | fp32 |" in (run / "README.md").read_text()
    assert found["agreement"]["max_box_difference"] < 0.1
    assert found["agreement"]["unmatched_boxes"] == 0
    assert [output["name"] for output in found["outputs"]] == ["boxes", "box_labels", "scores", "count"]
    assert found["thresholds"]["overlap_of_detections"] == 0.5
    said = capsys.readouterr().out
    assert "torchscript fp32, file 1 of 1: about 0:00:" in said
    assert "AP is near zero, beside which a drop tells nothing" in said

    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    (images / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    run_exported.main([str(file), str(images), "--output", str(tmp_path / "out")])
    assert "skipped: " in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out" / "drawn").iterdir()) == ["0.png", "1.png"]
    coco = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())
    assert [image["width"] for image in coco["images"]] == [70, 70]
    Image.new("RGB", (70, 40)).save(images / "0.jpg")
    run_exported.main([str(file), str(images), "--output", str(tmp_path / "out")])
    drawn = sorted(path.name for path in (tmp_path / "out" / "drawn").iterdir())
    assert drawn == ["0.jpg.png", "0.png.png", "1.png"], "one for each image, and none of the run before"
    (tmp_path / "mine" / "drawn").mkdir(parents=True)
    (tmp_path / "mine" / "drawn" / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit):
        run_exported.main([str(file), str(images), "--output", str(tmp_path / "mine")])
    assert f"{tmp_path / 'mine' / 'drawn'} is not of an earlier call" in capsys.readouterr().err
    assert (tmp_path / "mine" / "drawn" / "notes.txt").exists()
    for place, message in ((run, "is not of an earlier call"), (images / "out", "would be among the images")):
        with pytest.raises(SystemExit):
            run_exported.main([str(file), str(images), "--output", str(place)])
        assert message in capsys.readouterr().err
    run_exported.main([str(file), str(images / "0.png"), "--output", str(tmp_path / "one"), "--threshold", "0.99"])
    assert "1 images" in capsys.readouterr().out
    for arguments, message in (
        ([str(images / "cut.jpg")], "no image could be read"),
        ([str(tmp_path / "none")], "there is no such image or folder"),
        ([str(images / "0.png"), "--threads", "0"], "threads=0 should be at least 1"),
    ):
        with pytest.raises(SystemExit):
            run_exported.main([str(file), *arguments, "--output", str(tmp_path / "no")])
        assert message in capsys.readouterr().err


def test_an_export_that_ends_early_says_of_which_weights_its_files_are(run: Path, monkeypatch: pytest.MonkeyPatch):
    only_file = ["export.num_evaluated=1", "export.size=[96,64]", "export.formats=[torchscript]"]
    main([str(run), *only_file])
    folder, weights = run / "export", run / "model.safetensors"
    assert files_of(folder, weights) == ["model_fp32.pt"]

    def interrupted(*_args: Any, **_keys: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export.Converter, "convert", interrupted)
        with pytest.raises(SystemExit):
            main([str(run), *only_file[:2], "export.formats=[onnx]"])
    assert files_of(folder, weights) == ["model_fp32.pt"], "which stays in the list"
    before = weights.read_bytes()
    weights.write_bytes(before + b" ")
    assert files_of(folder, weights) == []
    weights.write_bytes(before)
    assert not (folder / "exported.json").exists(), "the last export did not finish"


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *rest: Any, **keywords: Any) -> Any:
        if name.startswith("executorch"):
            raise ImportError("No module named 'executorch'", name="executorch")
        return real(name, *rest, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    message = r"ExecuTorch needs packages .*\(executorch\); pip install .*\[export\]"
    with pytest.raises(InputError, match=message), needs_extra("ExecuTorch"):
        import executorch  # noqa: F401


def float_parts_tried(monkeypatch: pytest.MonkeyPatch, file: Path) -> list[list[str]]:
    """The parts in float32 of each file that an export in int8 writes, whose drop becomes smaller with each part."""
    tried = []

    def write(*arguments: Any) -> Any:
        tried.append(list(arguments[-1]))
        drops = {"good": 0.5, "bad": 5.0 - 1.5 * len(arguments[-1])}
        facts = {task: SimpleNamespace(metrics={"drop_in_points": drop}) for task, drop in drops.items()}
        return SimpleNamespace(by_task=lambda: facts)

    errors = {
        "good": {"last": 9.0, "third": 8.0, "given": 7.0, "worst": 6.0},
        "bad": {"last": 0.1, "given": 2.0, "third": 1.0, "worst": 3.0},
    }
    monkeypatch.setattr(export, "_write", write)
    monkeypatch.setattr(export, "_say", lambda *arguments: None)
    monkeypatch.setattr(export, "part_errors", lambda *arguments: errors)
    options = SimpleNamespace(float_parts=["given"], max_drop=1.0)
    made = SimpleNamespace(
        config=SimpleNamespace(export=options),
        deployed=None,
        converter=SimpleNamespace(convert=lambda *_: None),
        calibration=[1],
        progress=ExportProgress(),
    )
    export._export_partial(made, "onnx", "int8", file)  # type: ignore[arg-type]
    return tried


def test_parts_go_back_to_float_until_the_metric_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(export, "check_support", lambda *_: None)
    tried = float_parts_tried(monkeypatch, tmp_path / "model")
    assert tried == [["given"], ["given", "worst"], ["given", "worst", "third"]]  # one part stays in int8


def test_a_file_is_kept_where_nothing_tells_which_parts_int8_hurts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def check_support(*_: str) -> None:
        raise InputError("torchao is not installed")

    monkeypatch.setattr(export, "check_support", check_support)
    assert float_parts_tried(monkeypatch, tmp_path / "model") == [["given"]]
    assert "cannot be told, and the drop stays: torchao is not installed" in capsys.readouterr().out


def test_images_that_cannot_be_read_are_left_out_of_all_ratings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(export_images, "build_val_source", lambda *_: Damaged([2]))
    monkeypatch.setattr(export_images, "classes_of", lambda _: {})
    monkeypatch.setattr(export_images, "tasks_of", lambda _: {"cls": SimpleNamespace(target=LABEL)})
    config: Any = SimpleNamespace(data=SimpleNamespace(undecodable="skip"), export=SimpleNamespace(num_evaluated=3))
    model: Any = None
    source = export_images.rated_source(config, model)
    assert source is not None
    assert [source.load(row).name for row in range(len(source))] == ["image 0", "image 4"]
    assert capsys.readouterr().err == "skipped: image 2 is damaged\n"
