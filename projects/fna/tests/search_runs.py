"""A tiny space and small searches on the shapes data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fbnetv5.base.devices import pick_device
from fbnetv5.base.distributed import World
from fbnetv5.base.weights import save_weights
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.projects.fna import spaces
from fbnetv5.projects.fna.architecture import Architecture, BlockSpec, Stem
from fbnetv5.projects.fna.network import FNANetwork
from fbnetv5.projects.fna.problem import SearchProblem, build_problem
from fbnetv5.projects.fna.space import Space

HEAD = {
    "_target_": "fbnetv5.projects.fna.heads.deeplab.DeepLabV3",
    "hidden_channels": 8,
    "rates": [1, 2],
    "dropout": 0.0,
}
DIFFERENTIABLE = "fbnetv5.projects.fna.differentiable.Differentiable"


def layer(channels: int, stride: int, *, skip: bool) -> tuple[BlockSpec | None, ...]:
    """Two kernels, and the identity where the layer may be skipped."""
    blocks = tuple(BlockSpec("mbconv", channels, kernel=k, expansion=e, stride=stride) for k, e in ((3, 2), (5, 3)))
    return (*blocks, None) if skip else blocks


TINY = Space(
    name="tiny",
    seed="tiny",
    stem=Stem(8),
    stages=(
        ((BlockSpec("separable", 8),),),
        (layer(8, 2, skip=False),),
        (layer(8, 2, skip=False), layer(8, 1, skip=True)),
        (layer(16, 2, skip=False), layer(16, 1, skip=True)),
        (layer(16, 2, skip=False),),
    ),
    activation="relu6",
)


def use_tiny_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``project.space=tiny`` find the space."""
    monkeypatch.setitem(spaces.SPACES, "tiny", TINY)


def search_config(folder: Path, *overrides: str, **project: Any) -> RunConfig:
    """A search of a few steps, from random parameters unless told otherwise."""
    keys = {
        "defaults": ["/fbnetv5/schema", "_self_"],
        "job": "fbnetv5.projects.fna.search.run",
        "name": "tiny",
        "output": str(folder / "search"),
        "model": {"head": HEAD},
        "data": {"shapes": {"num_images": 24, "num_val_images": 8, "size": 32}, "short_side": 32, "crop": 32},
        "train": {"steps": 6, "batch_size": 4},
        "optimizer": {"lr": 0.01},
        "runtime": {"device": "cpu", "workers": 0, "threads": 1, "log_every": 2, "checkpoint_every": 2},
        "project": {
            "space": "tiny",
            "seed": "mobilenetv2_035",
            "start": "random",
            "architecture_share": 0.25,
            **project,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(keys))
    return load_config(file, overrides)


def alone() -> World:
    """One process on the CPU."""
    return World(rank=0, size=1, device=pick_device("cpu"))


def problem(folder: Path, *overrides: str, **project: Any) -> SearchProblem:
    """What a method is given in such a search."""
    return build_problem(search_config(folder, *overrides, **project), alone())


def write_seed(folder: Path) -> dict[str, str]:
    """Write a seed with random weights that the tiny space is made for; return the keys that name it."""
    stages = (
        (BlockSpec("separable", 8),),
        (BlockSpec("mbconv", 8, expansion=2, stride=2),),
        (BlockSpec("mbconv", 8, expansion=2, stride=2), BlockSpec("mbconv", 8, expansion=2)),
        (BlockSpec("mbconv", 16, expansion=3, stride=2), BlockSpec("mbconv", 16, expansion=3)),
        (BlockSpec("mbconv", 16, expansion=2, stride=2),),
    )
    architecture = Architecture(Stem(8), stages, activation="relu6")
    folder.mkdir(parents=True, exist_ok=True)
    architecture.save(folder / "seed.yaml")
    torch.manual_seed(7)
    network = FNANetwork(architecture.to_dict())
    network(torch.randn(4, 3, 64, 64))  # statistics other than zeros and ones
    save_weights(folder / "seed.safetensors", network.state_dict())
    return {"seed": str(folder / "seed.yaml"), "seed_weights": str(folder / "seed.safetensors")}
