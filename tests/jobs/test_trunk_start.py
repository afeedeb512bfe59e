"""Runs that start from weights of timm's networks: where these come from, and what images are normalised with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import fbnetv5
from fbnetv5.archs.trunk_weights import PACKAGES, Package
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import read_normalisation, read_origin, read_weights
from fbnetv5.config.read import load_config
from fbnetv5.jobs import search, train
from tests.archs.timm_models import random_model
from tests.processes import undrawn

NAME = "mobilenetv2_035"
FAMILY = (f"model.family=timm/{NAME}", "model.num_stages=1")
DATA = ("data.shapes.num_images=64", "data.shapes.num_val_images=8", "data.shapes.size=64", "data.short_side=64")
SMALL = (*FAMILY, *DATA, "data.crop=64", "runtime.device=cpu", "runtime.threads=1", "runtime.workers=0")
SEARCH = ("search.steps=1", "search.batch_size=8", "search.num_samples=2", "search.last_look.candidates=0")
TRAIN = ("train.steps=1", "train.batch_size=8", "train.eval_every=null", "model.topology=linear")
WORLD = World(rank=0, size=1, device=torch.device("cpu"))
GREY = Normalisation((0.5, 0.25, 0.5), (0.5, 0.5, 0.25))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with weights under other names, and a normalisation of its own."""
    (tmp_path / "grey_weights" / "models").mkdir(parents=True)
    (tmp_path / "grey_weights" / "__init__.py").touch()
    weights = {f"w{n}": tensor for n, tensor in enumerate(random_model(NAME).state_dict().values()) if tensor.ndim}
    torch.save(weights, tmp_path / "grey_weights" / "models" / "grey.pth")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGES, NAME, Package("grey-weights", "grey_weights", GREY))


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_the_weights_normalisation_reaches_every_run_and_model(tmp_path, capsys):
    """From the package to a search, from its supernet to a training, from that to predictions."""
    found = tmp_path / "search"
    with undrawn():
        search.run(
            load_config(Path("configs/quickstart.yaml"), [*SMALL, *SEARCH, "model.trunk_weights=pretrained"]), found
        )
    assert "the trunk starts from the package grey-weights, blocks from its last layers" in capsys.readouterr().out
    assert read_normalisation(found / "model.safetensors") == GREY
    (checkpoint,) = (found / "checkpoints").glob("step-*")
    assert read_normalisation(checkpoint / "model.safetensors") == GREY

    start = f"model.weights={found / 'model.safetensors'}"
    config = load_config(Path("configs/train/cls/shapes.yaml"), [*SMALL, *TRAIN, start])
    training = train.build_training(config, WORLD)
    assert training.model.normalisation == GREY
    (batch,) = list(training.batches(0))
    lowest = (0 - torch.tensor(GREY.mean)) / torch.tensor(GREY.std)
    assert torch.all(batch.images.amin(dim=(0, 2, 3)) >= lowest - 1e-6)

    with undrawn():
        train.run(config, tmp_path / "model")
    model = fbnetv5.load(tmp_path / "model")
    assert read_normalisation(tmp_path / "model" / "model.safetensors") == GREY
    assert read_origin(found / "model.safetensors") == model.origin == Origin("the package grey-weights")
    assert "| first weights | the package grey-weights |" in (tmp_path / "model" / "README.md").read_text()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["input"]["mean"] == list(GREY.mean)
    image = Image.new("RGB", (64, 64), tuple(GREY.colour))
    seen = model.spec.input.prepare(torch.tensor(GREY.colour, dtype=torch.uint8)[:, None, None].repeat(1, 64, 64))
    assert seen.abs().max() < 0.01
    assert model.predict_tensors(image) is not None


@pytest.mark.usefixtures("package")
def test_a_trunk_from_a_package_and_blocks_from_it():
    start = ["model.trunk_weights=pretrained", "model.block_start=copied", "model.topology=fpn", "model.num_stages=4"]
    config = load_config(Path("configs/train/cls/shapes.yaml"), [*SMALL, *TRAIN, *start])
    network = train.build_training(config, WORLD).model.network
    kernels = network.trunk[3][-1].conv_dw.weight
    assert torch.equal(kernels, network.blocks["s1_p3"][1].conv_dw.weight[: len(kernels)])


def test_weights_that_say_nothing_are_imagenets(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "old.safetensors")
    assert read_normalisation(tmp_path / "old.safetensors") == IMAGENET
    save_file({"a": torch.zeros(1)}, tmp_path / "odd.safetensors", {"normalisation": '{"mean": [0, 0], "std": 1}'})
    with pytest.raises(InputError, match=r"odd\.safetensors: cannot read the normalisation"):
        read_normalisation(tmp_path / "odd.safetensors")
    assert list(read_weights(tmp_path / "odd.safetensors")) == ["a"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm", "model.trunk_weights=timm is now model.trunk_weights=pretrained"),
        ("nowhere.safetensors", "cannot read weights from nowhere.safetensors"),
        ("pretrained", f"timm has no weights of {NAME}"),
    ],
)
def test_trunk_weights_that_there_are_not_are_one_line(source, message):
    config = load_config(Path("configs/train/cls/shapes.yaml"), [*SMALL, *TRAIN, f"model.trunk_weights={source}"])
    with pytest.raises(InputError) as caught:
        train.build_training(config, WORLD)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
