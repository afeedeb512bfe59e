"""A run's folder: claimed once, and not overwritten by another run."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fbnetv5.base.distributed import World
from fbnetv5.base.documents import parse_yaml, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.version import __version__
from fbnetv5.config.identity import identity, require_unclaimed
from fbnetv5.config.read import CONFIG
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import saved_yaml
from fbnetv5.engine.checkpoint import Checkpoint, Checkpointer

LIBRARIES = ("torch", "torchvision", "timm", "numpy")


def require_own(folder: Path, job: str) -> None:
    """Raise InputError where a folder holds a run of another job, whose configuration would be overwritten."""
    other = saved_keys(folder).get("job", job)
    if other != job:
        raise InputError(f"{folder} holds a run of job={other}; choose another output, such as {folder / job}")


def saved_keys(folder: Path) -> dict[str, Any]:
    """Return the configuration that a folder holds; empty where there is none that could be lost."""
    try:
        found = parse_yaml(read_text(folder / CONFIG))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def open_run_folder(config: RunConfig, folder: Path, world: World) -> tuple[Checkpointer, Checkpoint | None]:
    """Claim the folder of a run: find where to go on from, then write the resolved configuration, seed and versions.

    Returns:
        what writes the run's checkpoints, and the latest one if the run is resumed.

    Raises:
        InputError: the folder holds a run and ``resume`` was not asked for, or a run of another configuration.
    """
    checkpointer = Checkpointer(folder / "checkpoints", identity(config))
    require_unclaimed(config, folder)
    world.barrier()  # all ranks have looked before one of them writes
    checkpoint = checkpointer.latest() if config.resume else None
    world.require_identical(checkpoint.step if checkpoint else 0, "the steps that the run goes on from")
    if world.is_main:
        checkpointer.drop_old()
        versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        header = f"fbnetv5 {__version__}, Python {platform.python_version()}, {versions}\n{world.size} process(es)"
        write_text(folder / CONFIG, saved_yaml(config, header))
    return checkpointer, checkpoint
