"""Runs as functions: each does what the command of its name does, and returns what the run's folder holds.

What is heavy, torch first of all, is imported once the input has been checked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fbnetv5.cli.commands import job_override
from fbnetv5.cli.launch import existing_config, run_job, startable
from fbnetv5.config.write import path_override

if TYPE_CHECKING:
    from fbnetv5.facade.results import SearchResult, TrainResult
    from fbnetv5.model.folder import FinalModel

StrPath = str | os.PathLike[str]


def search(config: StrPath, *overrides: str, output: StrPath | None = None) -> SearchResult:
    """Search topologies for several tasks in one run, as ``fbnetv5 search`` does.

    Args:
        config: a YAML file, or the name of a config that comes with the program, such as ``quickstart``.
        overrides: keys of the config, such as ``"search.steps=2000"`` or ``"resume=true"``, in hydra's grammar.
        output: the folder of the run; by default that of the config, ``runs/NAME``.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
        Interrupted: Ctrl-C; the message says what is kept.
    """
    return read_search(_run("search", config, overrides, output))


def train(config: StrPath, *overrides: str, output: StrPath | None = None) -> TrainResult:
    """Train a final model, a topology, a head and data, as ``fbnetv5 train`` does; arguments as for :func:`search`.

    Raises:
        InputError, Interrupted: as :func:`search`.
    """
    return read_training(_run("train", config, overrides, output))


def read_search(folder: StrPath) -> SearchResult:
    """Read what a finished search has found.

    Raises:
        InputError: the folder holds no search, or one that is not finished.
    """
    from fbnetv5.facade.results import SearchResult

    return SearchResult.read(Path(folder))


def read_training(folder: StrPath) -> TrainResult:
    """Read what a finished training has come to.

    Raises:
        InputError: the folder holds no training, or one that is not finished.
    """
    from fbnetv5.facade.results import TrainResult

    return TrainResult.read(Path(folder))


def load(path: StrPath, device: str = "cpu", *, trust_code: bool = False) -> FinalModel:
    """Rebuild a trained model, in evaluation mode; ``load(folder).predict("image.jpg")`` predicts.

    A model of several tasks predicts all of them at once: a prediction a task, by name.

    Args:
        path: the folder of a trained model, or the config.json in it.
        device: where to put it.
        trust_code: build a head or network whose class is neither of this package nor of the projects beside it.
            Importing it runs its module's code.

    Raises:
        InputError: a file is missing or damaged, the two do not fit each other, or the head is not of this package.
    """
    from fbnetv5.model.folder import load as load_model

    return load_model(path, device, trust_code=trust_code)


def _run(job: str, config: StrPath, overrides: tuple[str, ...], output: StrPath | None) -> Path:
    """Run a job to its end; return its folder."""
    file = existing_config(os.fspath(config))
    place = [] if output is None else [path_override("output", os.fspath(output))]
    checked = startable(file, [*job_override(job, os.fspath(config), file), *overrides, *place])
    run_job(checked)
    return Path(checked.output)
