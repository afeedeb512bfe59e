"""Teachers of torchvision: weights from files, classes without the background, labels as torchvision's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torchvision import models

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.labeling.teachers import TorchvisionBoxes, TorchvisionPixels
from tests.labeling.teachers.pictures import pictures

DETECTOR, SEGMENTER = "ssdlite320_mobilenet_v3_large", "lraspp_mobilenet_v3_large"


def saved(file: Path, builder: str, num_classes: int, **options: object) -> nn.Module:
    """Write the weights of a model, random ones, and return it."""
    with forked(0):
        model = models.get_model(builder, weights=None, weights_backbone=None, num_classes=num_classes, **options)
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and name.split(".")[0] in ("head", "roi_heads", "classifier"):
                nn.init.xavier_normal_(parameter, gain=4)  # scores that differ
        for module in model.modules():
            if builder == SEGMENTER and isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # one batch sets the statistics
        if builder == SEGMENTER:
            model.train()(torch.rand(4, 3, 128, 128))
    save_file(model.state_dict(), file) if file.suffix == ".safetensors" else torch.save(model.state_dict(), file)
    return model.eval()


@torch.no_grad()
def test_boxes_are_those_of_torchvision_with_ids_from_0(tmp_path):
    model = saved(tmp_path / "w.pth", DETECTOR, 4)
    teacher = TorchvisionBoxes(DETECTOR, str(tmp_path / "w.pth"), classes=["a", "b", "c"])
    assert teacher.classes == ("a", "b", "c")
    for image, found in zip(pictures(), teacher(pictures()), strict=True):
        (expected,) = model([image / 255])
        assert len(found.boxes) > 0
        assert torch.equal(found.labels, expected["labels"] - 1)
        torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(found.scores, expected["scores"])


def test_classes_are_those_that_torchvision_has_trained(tmp_path):
    saved(tmp_path / "w.safetensors", DETECTOR, 91)
    teacher = TorchvisionBoxes(DETECTOR, str(tmp_path / "w.safetensors"))
    assert len(teacher.classes) == 80
    assert teacher.classes[:2] == ("person", "bicycle")
    assert teacher.classes[-1] == "toothbrush"
    assert all(0 <= label < 80 for found in teacher(pictures()) for label in found.labels)


@torch.no_grad()
def test_pixels_are_those_of_torchvision(tmp_path):
    model = saved(tmp_path / "w.pth", SEGMENTER, 21)
    teacher = TorchvisionPixels(SEGMENTER, str(tmp_path / "w.pth"))
    preset = models.get_model_weights(SEGMENTER).DEFAULT.transforms()
    assert teacher.classes[:2] == ("__background__", "aeroplane")
    for image, found in zip(pictures(), teacher(pictures()), strict=True):
        logits = F.interpolate(model(preset(image)[None])["out"], size=image.shape[1:], mode="bilinear")[0]
        expected = logits.softmax(0).max(0)
        assert len(found.labels.unique()) > 1
        assert (found.labels == expected.indices).float().mean() > 0.999
        torch.testing.assert_close(found.scores, expected.values, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_long_side_is_bounded(tmp_path, monkeypatch):
    saved(tmp_path / "w.pth", SEGMENTER, 3)
    teacher = TorchvisionPixels(SEGMENTER, str(tmp_path / "w.pth"), classes=["a", "b", "c"])
    seen = []
    teacher.model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in ((10, 30), (4, 200), (20, 10))]
    assert [found.labels.shape for found in teacher(images)] == [image.shape[1:] for image in images]
    assert seen == [(520, 1560), (31, 1560), (1040, 520)]


def test_bfloat16_is_near_float32(tmp_path):
    saved(tmp_path / "w.pth", SEGMENTER, 3)
    options = {"builder": SEGMENTER, "weights": str(tmp_path / "w.pth"), "classes": ["a", "b", "c"]}
    exact, rounded = (TorchvisionPixels(**options, precision=p)(pictures())[0] for p in ("float32", "bfloat16"))
    assert (exact.scores - rounded.scores).abs().mean() < 0.05
    assert not torch.equal(rounded.scores, exact.scores)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_rcnn_labels(tmp_path, precision):
    builder = "fasterrcnn_mobilenet_v3_large_320_fpn"
    saved(tmp_path / "w.pth", builder, 3)
    options = {"class_map": {"a": "x", "b": None}, "precision": precision, "bn_eps": 0.0}
    teacher = TorchvisionBoxes(builder, str(tmp_path / "w.pth"), classes=["a", "b"], **options)
    assert teacher.classes == ("x",)
    for found in teacher(pictures()[:2]):
        assert found.boxes.shape == (len(found.labels), 4)
        assert found.boxes.dtype == found.scores.dtype == torch.float32
        assert not found.labels.any()


@pytest.mark.slow
def test_the_head_for_training_is_left_out(tmp_path):
    model = saved(tmp_path / "w.pth", "deeplabv3_mobilenet_v3_large", 3, aux_loss=True)
    assert any(name.startswith("aux_classifier") for name in model.state_dict())
    teacher = TorchvisionPixels("deeplabv3_mobilenet_v3_large", str(tmp_path / "w.pth"), classes=["a", "b", "c"])
    assert teacher(pictures()[1:2])[0].labels.shape == (60, 60)


def refused(message: str, build: type, *args: object, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(*args, **options)
    assert "\n" not in str(caught.value)


def test_what_cannot_teach_is_refused(tmp_path):
    saved(tmp_path / "w.pth", SEGMENTER, 3)
    refused("there is no file .*absent.pth", TorchvisionPixels, SEGMENTER, str(tmp_path / "absent.pth"))
    refused(r"does not fit the model: classifier\.", TorchvisionPixels, SEGMENTER, str(tmp_path / "w.pth"))
    refused("no detector of torchvision; did you mean 'retinanet_resnet50_fpn'", TorchvisionBoxes, "retinanet", "w.pth")
    refused(f"'{DETECTOR}' is no segmenter of torchvision", TorchvisionPixels, DETECTOR, "w.pth")
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    refused("cannot read .*garbage.pth", TorchvisionPixels, SEGMENTER, str(tmp_path / "garbage.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    refused("list.pth holds no weights", TorchvisionPixels, SEGMENTER, str(tmp_path / "list.pth"))
    torch.save({"model": {}, "file": Path("x")}, tmp_path / "code.pth")
    refused(
        "would run code; save the model's state_dict alone", TorchvisionPixels, SEGMENTER, str(tmp_path / "code.pth")
    )
    names = [str(number) for number in range(256)]
    refused("256 classes of pixels; there are at most 255", TorchvisionPixels, SEGMENTER, "w.pth", classes=names)
    refused("one class of pixels, of which it would call every", TorchvisionPixels, SEGMENTER, "w.pth", classes=["a"])
