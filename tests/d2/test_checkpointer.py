"""What D2Go's checkpointer refuses of weights, and what it keeps of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import about_weights
from fbnetv5.d2.checkpoint import about_of, state_of, write_checkpoint
from tests.d2.detectors import needs_detectron2

ABOUT = about_weights(Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), Origin("somebody's weights", "apache-2.0"))
HALF = {"PIXEL_MEAN": [127.5, 127.5, 127.5], "PIXEL_STD": [63.75, 63.75, 63.75]}


def config(order: str = "RGB", **pixels: Any) -> Any:
    return SimpleNamespace(INPUT=SimpleNamespace(FORMAT=order), MODEL=SimpleNamespace(**{**HALF, **pixels}))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.head = nn.Linear(2, 2), nn.Linear(2, 1)


def checkpointer(folder: Path, cfg: Any, *, training: bool = True) -> Any:
    from fbnetv5.d2.checkpointer import FBNetV5Checkpointer

    model = Model()
    optimizer = {"optimizer": torch.optim.SGD(model.parameters(), 0.1)} if training else {}
    return FBNetV5Checkpointer(cfg, model, save_dir=str(folder), save_to_disk=True, **optimizer)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model.pth", Model().state_dict(), ABOUT)
    return tmp_path / "model.pth"


@needs_detectron2
def test_weights_that_fit_are_loaded_and_what_is_said_of_them_is_kept(file, tmp_path):
    own = checkpointer(tmp_path, config())
    own.load(str(file), checkpointables=[])
    saved = torch.load(file)["model"]
    assert all(torch.equal(value, saved[name]) for name, value in own.model.state_dict().items())
    own.save("again")
    assert about_of(tmp_path / "again.pth") == about_of(file)


@needs_detectron2
@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (config(PIXEL_MEAN=[123.675, 116.28, 103.53]), r"set MODEL.PIXEL_MEAN \[127.5,127.5,127.5\] MODEL.PIXEL_STD"),
        (config("BGR"), "INPUT.FORMAT is BGR; these weights want RGB"),
    ],
)
def test_weights_of_other_images_are_refused(file, tmp_path, cfg, message):
    with pytest.raises(InputError, match=message):
        checkpointer(tmp_path, cfg).load(str(file), checkpointables=[])


@needs_detectron2
def test_weights_of_another_network_are_refused_and_a_new_head_may_start_anew(tmp_path):
    weights = Model().state_dict()
    write_checkpoint(tmp_path / "detector.pth", {f"backbone.{name}": value for name, value in weights.items()}, None)
    with pytest.raises(InputError, match=r"MODEL.WEIGHTS lacks network\..*fbnetv5.d2.convert"):
        checkpointer(tmp_path, config()).load(str(tmp_path / "detector.pth"), checkpointables=[])
    network = {name: value for name, value in weights.items() if name.startswith("network")}
    write_checkpoint(tmp_path / "network.pth", network, None)
    checkpointer(tmp_path, config()).load(str(tmp_path / "network.pth"), checkpointables=[])
    with pytest.raises(InputError, match=r"MODEL.WEIGHTS lacks head\."):
        checkpointer(tmp_path, config(), training=False).load(str(tmp_path / "network.pth"))


def test_the_moving_average_is_what_becomes_a_file_of_ours(tmp_path, capsys):
    average = {"network.weight": torch.ones(2), "pixel_mean": torch.zeros(3)}
    torch.save({"model": {"network.weight": torch.zeros(2)}, "ema_state": average}, tmp_path / "model.pth")
    (entry,) = state_of(tmp_path / "model.pth").items()
    assert (entry[0], entry[1].tolist()) == ("network.weight", [1, 1])
    assert "the moving average of the weights is taken" in capsys.readouterr().out
