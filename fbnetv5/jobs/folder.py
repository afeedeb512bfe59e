"""A run's folder: claimed once, and not overwritten by another run."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import fbnetv5
from fbnetv5.config import RunConfig, saved_yaml
from fbnetv5.engine.distributed import World
from fbnetv5.errors import InputError
from fbnetv5.files import write_text

CONFIG = "config.yaml"
LIBRARIES = ("torch", "torchvision", "timm", "numpy")


def open_run_folder(config: RunConfig, folder: Path, world: World) -> None:
    """Write the resolved configuration, with seed and versions, to the folder of a run.

    Raises:
        InputError: the folder holds a run already, and ``resume`` was not asked for.
    """
    taken = (folder / CONFIG).exists()
    world.barrier()  # all ranks have looked before one of them writes
    if taken and not config.resume:
        raise InputError(
            f"{folder} holds a run already: resume=true goes on with it, output=FOLDER writes elsewhere, or delete it"
        )
    if world.is_main:
        versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        header = (
            f"fbnetv5 {fbnetv5.__version__}, Python {platform.python_version()}, {versions}\n{world.size} process(es)"
        )
        write_text(folder / CONFIG, saved_yaml(config, header))
