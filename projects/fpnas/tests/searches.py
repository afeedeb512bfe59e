"""Searches that take seconds: three classes of plain images, three blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import path_override
from fbnetv5.projects.fpnas.jobs import Independent, Result, Shared, Training

CONFIG = Path(__file__).parents[1] / "configs" / "cifar10_small.yaml"
COLOURS = {"blue": (40, 60, 200), "green": (30, 180, 60), "red": (200, 40, 50)}
MACRO = """
stem: {channels: 8, stride: 2}
first: {channels: 8, stride: 2}
blocks:
- {type: identity, channels: 8, stride: 1}
- {type: conv k3e6, channels: 16, stride: 2}
- {type: identity, channels: 16, stride: 1}
"""
NUM_TYPES = (21, 4, 21)


def write_images(root: Path, count: int = 8, side: int = 32, colours: dict[str, Any] = COLOURS) -> Path:
    """Write ``count`` noisy images of each class to a folder of its own below ``root``."""
    noise = np.random.default_rng(0)
    for name, colour in colours.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(np.array(colour) + noise.normal(0, 40, (side, side, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02d}.png")
    return root


def tiny_search(folder: Path, *overrides: str, config: Path = CONFIG) -> RunConfig:
    """The config of a search of images and blocks in ``folder``, T = 3, P = 2, Q = 1, E = 3: 15 epochs of 18 images."""
    return load_config(config, [*tiny_overrides(folder), *overrides])


def tiny_overrides(folder: Path) -> list[str]:
    """Write the images and the blocks of such a search, unless they are there; return what it changes in a config."""
    if not (folder / "data").exists():
        write_images(folder / "data" / "train")
        (folder / "macro.yaml").write_text(MACRO)
    return [
        path_override("data.root", folder / "data"),
        path_override("project.macro", folder / "macro.yaml"),
        path_override("output", folder / "run"),
        "project.multiplier=1",
        "project.bound=250e3",
        "project.validation_share=0.25",
        "project.iterations=3",
        "project.shared_epochs=2",
        "project.epochs=1",
        "project.num_candidates=3",
        "project.jobs=1",
        "model.head.hidden_channels=16",
        "search.batch_size=8",
        "data.short_side=36",
    ]


class Landscape:
    """A trainer that trains nothing: a network's accuracy is the mean of a score for each of its types.

    Args:
        scores: of the types at each position, in [0, 1].
    """

    def __init__(self, scores: list[list[float]]) -> None:
        self.scores = scores
        self.jobs: list[Training] = []
        self.decided: list[tuple[int, int | None, tuple[int, ...], float]] = []
        self.forgotten: list[str] = []

    def accuracy(self, choices: tuple[int, ...]) -> float:
        return sum(scores[chosen] for scores, chosen in zip(self.scores, choices, strict=True)) / len(self.scores)

    def train(self, jobs: list[Training]) -> list[Result]:
        for job in jobs:
            assert not job.start or job.start not in self.forgotten
        self.jobs += jobs
        return [Result([*map(self.accuracy, job.networks)], [0.0], 0, 0, 0.0, f"{job.name}.weights") for job in jobs]

    def decide(self, iteration: int, position: int | None, choices: tuple[int, ...], accuracy: float) -> None:
        self.decided.append((iteration, position, choices, accuracy))

    def forget(self, weights) -> None:
        self.forgotten += weights

    @property
    def epochs(self) -> int:
        return sum(job.epochs for job in self.jobs)

    @property
    def networks(self) -> list[tuple[int, ...]]:
        return [choices for job in self.jobs for choices in job.networks]

    @property
    def independent(self) -> list[Independent]:
        return [job for job in self.jobs if isinstance(job, Independent)]

    @property
    def shared(self) -> list[Shared]:
        return [job for job in self.jobs if isinstance(job, Shared)]
