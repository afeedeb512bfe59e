"""Teachers: their own normalisation and size, and classes that must be the data's."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import timm
import torch
from huggingface_hub.errors import HTTPError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.seeding import forked
from fbnetv5.config.schema import TeacherConfig
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model import distill
from fbnetv5.model.distill import Teacher, build_teacher
from fbnetv5.model.folder import save_model
from tests.model.test_task_net import build

NAME = "test_resnet"  # timm's own, of 0.5 M parameters
CLASSES = ("a", "b", "c")


def student(num_classes: int = 3) -> torch.nn.Module:
    with forked(0):
        return timm.create_model(NAME, num_classes=num_classes).eval()


def images(side: int = 96) -> torch.Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))


def weights_file(folder: Path, kind: str) -> Path:
    state = student().state_dict()
    path = folder / f"teacher.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return path


def refused(message: str, model: str = NAME, classes: tuple[str, ...] = CLASSES, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_teacher(TeacherConfig(model=str(model), **options), classes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_timm_model_with_local_weights(tmp_path, kind):
    teacher = build_teacher(TeacherConfig(model=NAME, weights=str(weights_file(tmp_path, kind))), CLASSES)
    cfg = student().pretrained_cfg
    rgb = images() * torch.tensor(IMAGENET.std)[:, None, None] + torch.tensor(IMAGENET.mean)[:, None, None]
    own = (rgb - torch.tensor(cfg["mean"])[:, None, None]) / torch.tensor(cfg["std"])[:, None, None]
    labels = teacher.labels(images())
    assert labels.dtype == torch.int64
    assert torch.equal(labels, student()(own).argmax(1))


class Recorder(torch.nn.Module):
    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        self.seen, self.mode = tensor, self.training
        return tensor.mean((2, 3))


def test_images_are_normalised_and_resized_for_the_teacher():
    recorder = Recorder()
    teacher = Teacher(recorder, (0.5, 0.5, 0.5), (0.5, 0.25, 1.0), size=48).train()
    rgb = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    given = (rgb - torch.tensor(IMAGENET.mean)[:, None, None]) / torch.tensor(IMAGENET.std)[:, None, None]
    teacher.labels(given.double())
    expected = (rgb - 0.5) / torch.tensor([0.5, 0.25, 1.0])[:, None, None]
    expected = F.interpolate(expected, size=(48, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(recorder.seen, expected, atol=1e-5, rtol=1e-5)
    assert not recorder.mode


def test_targets_get_the_answers_and_keep_what_they_had():
    teacher = Teacher(Recorder(), IMAGENET.mean, IMAGENET.std)
    given = torch.zeros(2, 3, 4, 4)
    given[0, 2], given[1, 1] = 1, 1
    targets = [{"label": 0}, {"label": 1}]
    assert teacher.teach(given, targets) == [{"label": 0, "teacher_label": 2}, {"label": 1, "teacher_label": 1}]
    assert targets == [{"label": 0}, {"label": 1}]


def test_a_teacher_is_not_trained(tmp_path):
    teacher = build_teacher(TeacherConfig(model=NAME, weights=str(weights_file(tmp_path, "pth"))), CLASSES)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.train().modules())
    before = {name: buffer.clone() for name, buffer in teacher.named_buffers()}
    teacher.labels(images())
    assert all(torch.equal(buffer, before[name]) for name, buffer in teacher.named_buffers())


def test_a_trained_model_of_ours_teaches(tmp_path):
    model = build("cls", input=InputSpec(short_side=64, crop=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    save_model(tmp_path, model, model.spec)
    teacher = build_teacher(TeacherConfig(model=str(tmp_path), size=64), CLASSES)
    rgb = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    given = (rgb - torch.tensor(IMAGENET.mean)[:, None, None]) / torch.tensor(IMAGENET.std)[:, None, None]
    expected = torch.stack(model.eval()((rgb - 0.5) / 0.5)).argmax(1)
    assert torch.equal(teacher.labels(given), expected)
    refused("class 1 is 'b', in the data 'x'", str(tmp_path), ("a", "x", "c"))
    refused("other classes: 3, the data 2", str(tmp_path), ("a", "b"))
    refused("has its own weights", str(tmp_path), weights="x.pth")


def test_only_classifiers_teach(tmp_path):
    model = build("seg")
    save_model(tmp_path, model, model.spec)
    refused("predicts segmentation, not a class of the image", str(tmp_path))


def test_no_teacher():
    assert build_teacher(TeacherConfig(), CLASSES) is None
    for key in ({"weights": "teacher.pth"}, {"size": 64}):
        with pytest.raises(InputError, match=rf"train.teacher.{next(iter(key))} has no effect without"):
            build_teacher(TeacherConfig(**key), CLASSES)


def test_a_teacher_has_the_epsilon_that_its_weights_were_trained_with(tmp_path):
    own = timm.create_model("fbnetc_100", num_classes=3, bn_eps=1e-3)
    torch.save(own.state_dict(), tmp_path / "fbnetc.pth")
    teacher = build_teacher(TeacherConfig("fbnetc_100", str(tmp_path / "fbnetc.pth")), CLASSES)
    assert teacher.classifier.bn1.eps == own.bn1.eps


def test_what_cannot_teach_is_refused(tmp_path):
    refused("is no folder and no model of timm's; did you mean 'resnet50", "resnet5O")
    refused("did you mean 'resnet18.a1_in1k'", "resnet18.a1in1k")
    refused("knows 1000 classes, the data 3; give train.teacher.weights", "resnet18.a1_in1k")
    refused("timm has no weights for efficientnet_b8", "efficientnet_b8")
    refused("there is no file", weights=str(tmp_path / "absent.pth"))
    refused(r"has shape \(3, 96\) instead of \(2, 96\)", classes=("a", "b"), weights=str(weights_file(tmp_path, "pth")))
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    (tmp_path / "garbage.safetensors").write_bytes(b"garbage")
    for name in ("garbage.pth", "garbage.safetensors"):
        refused(f"cannot read .*{name}", weights=str(tmp_path / name))


def test_weights_that_would_run_code_are_refused(tmp_path):
    torch.save({"state_dict": {"a": Path("x")}}, tmp_path / "code.pth")
    refused("cannot read .*code.pth", weights=str(tmp_path / "code.pth"))


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch):
    for error in (OSError("no network\nat all"), SafetensorError("no network at all"), HTTPError("no network at all")):
        monkeypatch.setattr(distill.timm, "create_model", mock.Mock(side_effect=error))
        refused("cannot get timm's weights of resnet18: no network at all", "resnet18", tuple(map(str, range(1000))))


def test_a_model_of_one_size_sees_images_of_it(tmp_path):
    with forked(0):
        vit = timm.create_model("test_vit", num_classes=3).eval()
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    size = vit.pretrained_cfg["input_size"][-1]
    teacher = build_teacher(TeacherConfig(model="test_vit", weights=str(tmp_path / "vit.pth")), CLASSES)
    assert teacher.size == size
    assert teacher.labels(images(size - 32)).shape == (4,)
    refused(f"takes images of {size} pixels alone", "test_vit", weights=str(tmp_path / "vit.pth"), size=64)
