"""Models of the frameworks: saved and loaded, costs in closed form, and as teachers that label images."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fbnetv5.base.seeding import forked
from fbnetv5.data.inputs import InputSpec
from fbnetv5.labeling.teachers import TrainedBoxes, TrainedPixels
from fbnetv5.model.folder import load, save_model
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model

NETWORK = {
    "_target_": "fbnetv5.projects.fna.network.FNANetwork",
    "architecture": {
        "stem": {"channels": 8},
        "stages": [[{"kind": "mbconv", "channels": channels, "stride": 2}] for channels in (8, 8, 12, 16)],
    },
}
HEADS: dict[str, dict[str, Any]] = {
    "deeplab.DeepLabV3": {"hidden_channels": 8, "rates": [1, 2]},
    "retinanet.RetinaNet": {"hidden_channels": 8, "num_convs": 1, "score_threshold": 0.2},
    "ssdlite.SSDLite": {"last_channels": 16, "extra_channels": [8, 8, 8, 8], "score_threshold": 0.3},
}


def model_of(head: str, output_stride: int = 32) -> TaskNet:
    """A model with weights so large that its scores differ from image to image."""
    spec = ModelSpec(
        None,
        None,
        {"_target_": f"fbnetv5.projects.fna.heads.{head}", **HEADS[head]},
        ("a", "b", "c"),
        InputSpec(64, multiple=32),
        {**NETWORK, "output_stride": output_stride},
    )
    with forked(0):
        model = build_model(spec)
        for parameter in model.head.parameters():  # type: ignore[attr-defined]
            if parameter.dim() > 1:
                torch.nn.init.xavier_normal_(parameter, gain=2)
    return model.eval()


def pictures() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), generator=generator).byte() for size in ((70, 90), (64, 64))]


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_model_predicts_the_same(head, tmp_path):
    model = model_of(head)
    save_model(tmp_path, model, model.spec)
    loaded = load(tmp_path)
    for image in pictures():
        expected, found = model.predict_tensors(image), loaded.predict_tensors(image)
        torch.testing.assert_close(found, expected)


def test_costs_are_the_networks_and_the_heads():
    """DeepLabv3 at 64x64 and stride 16: 4x4 positions, of which the pooled branch sees one."""
    model = model_of("deeplab.DeepLabV3", output_stride=16)
    branches = 16 * 8 + 2 * (9 * 16 + 16 * 8)
    head = 16 * (branches + 4 * 8 * 8 + 8 * 3) + 16 * 8
    assert model.cost((64, 64)).macs == model.network.macs((64, 64)) + head


def test_deeplab_labels_pixels(tmp_path):
    model = model_of("deeplab.DeepLabV3")
    save_model(tmp_path, model, model.spec)
    for image, found in zip(pictures(), TrainedPixels(str(tmp_path))(pictures()), strict=True):
        assert (found.labels == model.predict_tensors(image)).float().mean() > 0.999
        assert found.scores.min() >= 1 / 3 - 1e-6
        assert found.labels.shape == image.shape[1:]


@pytest.mark.parametrize("head", ["retinanet.RetinaNet", "ssdlite.SSDLite"])
def test_detectors_label_boxes(head, tmp_path):
    model = model_of(head)
    save_model(tmp_path, model, model.spec)
    labels = TrainedBoxes(str(tmp_path))(pictures())
    assert all(len(found.boxes) for found in labels)
    for image, found in zip(pictures(), labels, strict=True):
        expected = model.predict_tensors(image)
        torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-3, rtol=1e-4)
        assert torch.equal(found.labels, expected["box_labels"])
