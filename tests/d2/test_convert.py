"""A detector moved to Detectron2 and back finds the same; weights return to the bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import fbnetv5
from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import read_weights
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.d2.convert import PREFIXES, from_detectron2, main, to_detectron2, write_detectron2
from fbnetv5.d2.rcnn_config import to_config
from fbnetv5.data.geometry import resized_size
from fbnetv5.model.folder import save_model
from fbnetv5.model.task_net import TaskNet
from tests.d2.detectors import ROOT, d2_config, d2_model, detector, images, needs_detectron2, spec

CLASSIFIER = {"_target_": "fbnetv5.heads.classifier.Classifier"}


def run(*arguments: str | Path) -> None:
    main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], message: str, *arguments: str | Path) -> None:
    with pytest.raises(SystemExit):
        run(*arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture
def folder(tmp_path):
    model = detector()
    save_model(tmp_path / "ours", model, model.spec)
    return tmp_path / "ours"


def test_names_go_there_and_back():
    state = detector().state_dict()
    theirs = to_detectron2(state)
    assert len(theirs) == len(state)
    assert all(any(name.startswith(prefix) for name in theirs) for prefix in PREFIXES.values())
    back = from_detectron2({**theirs, "pixel_mean": torch.zeros(3, 1, 1)})
    assert list(back) == list(state)
    assert all(back[name] is state[name] for name in state)
    with pytest.raises(InputError, match=r"'heads\.cls\.weight' is no weight"):
        to_detectron2({"heads.cls.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"'roi_heads\.mask_head\.weight' is no weight"):
        from_detectron2({"roi_heads.mask_head.weight": torch.zeros(1)})


def same_detections(ours: TaskNet, theirs: torch.nn.Module) -> None:
    """Compare both models on the same resized pixels."""
    num_found = 0
    for pixels in images():
        size = resized_size(*pixels.shape[1:], 64, 96)
        resized = F.interpolate(pixels[None].float(), size=size, mode="bilinear", antialias=True)[0]
        mean, std = (
            255 * torch.tensor(values)[:, None, None] for values in (ours.spec.input.mean, ours.spec.input.std)
        )
        padding = (0, -size[1] % 32, 0, -size[0] % 32)
        with torch.no_grad():
            batch = F.pad((resized - mean) / std, padding)[None]
            (found,) = ours(batch, true_sizes=[size], output_sizes=[tuple(pixels.shape[1:])])
            (output,) = theirs([{"image": resized, "height": pixels.shape[1], "width": pixels.shape[2]}])
        expected = output["instances"]
        num_found += len(expected)
        assert torch.equal(found["box_labels"], expected.pred_classes)
        torch.testing.assert_close(found["boxes"], expected.pred_boxes.tensor, atol=1e-3, rtol=0)
        torch.testing.assert_close(found["scores"], expected.scores, atol=1e-3, rtol=0)
    assert num_found > 40


@needs_detectron2
@pytest.mark.parametrize("family", ["NANO", "A_C"])
def test_detections_are_the_same_in_detectron2_and_back(tmp_path, family):
    model = detector(family)
    save_model(tmp_path / "ours", model, model.spec)
    run(tmp_path / "ours", tmp_path / "d2")
    cfg = d2_config(tmp_path / "d2" / "config.yaml")
    theirs = d2_model(cfg, Path(cfg.MODEL.WEIGHTS))
    assert {*theirs.state_dict()} == {*to_detectron2(model.state_dict())}
    same_detections(model, theirs)
    run("--back", tmp_path / "d2" / "config.yaml", tmp_path / "d2" / "model.pth", tmp_path / "back")
    back = fbnetv5.load(tmp_path / "back")
    assert back.spec.classes == model.spec.classes
    assert back.spec.input == model.spec.input
    assert back.spec.topology == model.spec.topology
    assert {**back.spec.head, **model.spec.head} == back.spec.head
    assert all(torch.equal(back.state_dict()[name], value) for name, value in model.state_dict().items())


@needs_detectron2
def test_predictors_agree_up_to_the_resizing(folder, tmp_path):
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.engine import DefaultPredictor

    run(folder, tmp_path / "d2")
    predictor = DefaultPredictor(d2_config(tmp_path / "d2" / "config.yaml"))
    ours = fbnetv5.load(folder)
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (ours.spec.input.mean, ours.spec.input.std))
    for pixels in images():
        rows = pixels.permute(1, 2, 0).numpy()
        theirs = ResizeShortestEdge([64, 64], 96).get_transform(rows).apply_image(rows)
        resized = ours.spec.input.prepare(pixels) * std + mean
        assert tuple(resized.shape[1:]) == theirs.shape[:2]
        # torchvision and Pillow weigh the same pixels, and round differently
        difference = (resized - torch.from_numpy(theirs.copy()).permute(2, 0, 1)).abs()
        assert difference.max() < 1.01
        found = ours.predict_tensors(Image.fromarray(rows))
        expected = predictor(rows[:, :, ::-1])["instances"]
        if difference.max() < 0.01:  # nothing was resized
            torch.testing.assert_close(found["boxes"], expected.pred_boxes.tensor, atol=1e-3, rtol=0)
            torch.testing.assert_close(found["scores"], expected.scores, atol=1e-3, rtol=0)
    assert difference.max() < 0.01


@needs_detectron2
@pytest.mark.slow
def test_a_trained_detector_finds_the_same(tmp_path):
    overrides = ["train.steps=20", "train.batch_size=4", "train.eval_every=20", "data.shapes.num_images=64"]
    overrides += ["data.shapes.num_val_images=4", "runtime.threads=1", f"output={tmp_path / 'run'}"]
    run_job(load_config(ROOT / "configs" / "train" / "det" / "shapes.yaml", overrides))
    run(tmp_path / "run", tmp_path / "d2")
    cfg = d2_config(tmp_path / "d2" / "config.yaml")
    same_detections(fbnetv5.load(tmp_path / "run"), d2_model(cfg, tmp_path / "d2" / "model.pth"))


def test_of_a_supernet_the_network_alone_is_written(folder, tmp_path):
    (folder / "config.json").unlink()
    run(folder, tmp_path / "d2")
    assert [file.name for file in (tmp_path / "d2").iterdir()] == ["model.pth"]
    weights = torch.load(tmp_path / "d2" / "model.pth", weights_only=True)["model"]
    network = {name: value for name, value in read_weights(folder / "model.safetensors").items() if "network" in name}
    assert {*weights} == {f"backbone.{name}" for name in network}


@needs_detectron2
def test_the_moving_average_of_d2go_is_what_comes_back(folder, tmp_path, capsys):
    write_detectron2(folder, tmp_path / "d2")
    trained = torch.load(tmp_path / "d2" / "model.pth", weights_only=True)["model"]
    average = {name: value + 1 for name, value in trained.items()} | {"pixel_std": torch.ones(3, 1, 1)}
    torch.save({"model": trained, "ema_state": average, "iteration": 3}, tmp_path / "model_final.pth")
    run("--back", tmp_path / "d2" / "config.yaml", tmp_path / "model_final.pth", tmp_path / "back")
    assert "moving average" in capsys.readouterr().out
    before, after = (read_weights(place / "model.safetensors") for place in (folder, tmp_path / "back"))
    assert all(torch.equal(after[name], before[name] + 1) for name in before)


@needs_detectron2
def test_names_of_classes_come_from_the_data_set(folder, tmp_path, capsys):
    write_detectron2(folder, tmp_path / "d2")
    cfg = d2_config(tmp_path / "d2" / "config.yaml", d2go=True)
    own = cfg.MODEL.FBNETV5.HEAD.pop("classes")
    categories = [{"id": 7, "name": "c"}, {"id": 2, "name": "a"}, {"id": 5, "name": "b"}]
    (tmp_path / "data.json").write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    injected = cfg.D2GO_DATA.DATASETS.COCO_INJECTION
    injected.NAMES, injected.IM_DIRS, injected.JSON_FILES = ["mine"], [""], [str(tmp_path / "data.json")]
    cfg.DATASETS.TEST = ("mine",)
    (tmp_path / "d2go.yaml").write_text(cfg.dump())
    run("--back", tmp_path / "d2go.yaml", tmp_path / "d2" / "model.pth", tmp_path / "back")
    assert fbnetv5.load(tmp_path / "back").classes == ("a", "b", "c")
    weights = tmp_path / "d2" / "model.pth"
    run("--back", tmp_path / "d2go.yaml", weights, tmp_path / "named", "--classes", "x", "y", "z")
    assert fbnetv5.load(tmp_path / "named").classes == ("x", "y", "z")
    cfg.MODEL.FBNETV5.HEAD.classes = own  # of what it was before it learnt these
    (tmp_path / "d2go.yaml").write_text(cfg.dump())
    refused(capsys, "are not those of MODEL.FBNETV5.HEAD.classes", "--back", tmp_path / "d2go.yaml", weights, tmp_path)
    cfg.MODEL.FBNETV5.HEAD.pop("classes")
    cfg.DATASETS.TEST = ("coco_2017_val",)
    (tmp_path / "d2go.yaml").write_text(cfg.dump())
    refused(capsys, "is 3, there are 80 names; give --classes", "--back", tmp_path / "d2go.yaml", weights, tmp_path)


@needs_detectron2
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("INPUT.FORMAT", "BGR", "INPUT.FORMAT is BGR; our Lite R-CNN has RGB"),
        ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7, "POOLER_RESOLUTION is 7; our Lite R-CNN has 6"),
        ("MODEL.RPN.IN_FEATURES", ["path2"], "should name one path, the same one"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16]], "has 2 lists; our Lite R-CNN reads one feature"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", [[8]], "model.pth does not fit the model"),
    ],
)
def test_a_model_that_our_head_cannot_be_is_refused(folder, tmp_path, capsys, key, value, message):
    write_detectron2(folder, tmp_path / "d2")
    cfg = d2_config(tmp_path / "d2" / "config.yaml")
    cfg.merge_from_list([key, value])
    (tmp_path / "other.yaml").write_text(cfg.dump())
    refused(capsys, message, "--back", tmp_path / "other.yaml", tmp_path / "d2" / "model.pth", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_bad_folders_and_files_are_one_line(folder, tmp_path, capsys):
    refused(capsys, "cannot read weights", tmp_path / "absent", tmp_path / "d2")
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "config.json").write_text("{")
    refused(capsys, "is not JSON", tmp_path / "damaged", tmp_path / "d2")
    assert not (tmp_path / "d2").exists()
    with pytest.raises(InputError, match=r"this model's head is .*Classifier"):
        to_config(spec(_target_=CLASSIFIER["_target_"]), topology="", weights="")


@needs_detectron2
def test_a_checkpoint_that_holds_code_is_refused(folder, tmp_path, capsys):
    write_detectron2(folder, tmp_path / "d2")
    torch.save({"model": print}, tmp_path / "code.pth")
    refused(capsys, "cannot read", "--back", tmp_path / "d2" / "config.yaml", tmp_path / "code.pth", tmp_path / "back")
    torch.save({"model": {"a": 1}}, tmp_path / "none.pth")
    refused(capsys, "no weights", "--back", tmp_path / "d2" / "config.yaml", tmp_path / "none.pth", tmp_path / "back")
