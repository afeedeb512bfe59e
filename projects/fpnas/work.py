"""One training of a search, from its inputs to the files of its result. See Section 3.2."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked, generator
from fbnetv5.base.weights import load_by_name, read_weights, save_weights
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.model.task_net import TaskNet
from fbnetv5.projects.fpnas.fit import FitHistory, accuracy, accuracy_by_batch, fit
from fbnetv5.projects.fpnas.images import ImageSet, load_split
from fbnetv5.projects.fpnas.jobs import Independent, Result, Shared, Training, read_result, weights_file, write_result
from fbnetv5.projects.fpnas.options import SearchConfig
from fbnetv5.projects.fpnas.problem import Problem, SharedModels, read_macro

IMAGES = "images.safetensors"


class Work(NamedTuple):
    """A training of the search in the folder ``folder``, whose images have been written to it."""

    training: Training
    config: RunConfig
    folder: Path
    classes: tuple[str, ...]


def do_training(work: Work) -> None:
    """Train and judge the networks of a training; write their weights, then the result.

    Raises:
        InputError: a loss is no number in stage one, or a file cannot be read or written.
    """
    begin = time.perf_counter()
    training, folder = work.training, work.folder
    train, val = load_split(folder / IMAGES)
    runtime = work.config.runtime
    with start_world(runtime.device, runtime.threads, runtime.tf32) as world:
        problem = build_problem(work.config, work.classes)
        if isinstance(training, Shared):
            outcome = _train_shared(work, training, problem, (train, val), world.device)
        else:
            outcome = _train_alone(work, training, problem, (train, val), world.device)
    save_weights(folder / weights_file(training), outcome.weights)
    result = Result(
        accuracies=outcome.accuracies,
        losses=outcome.fitted.losses,
        num_images=outcome.fitted.num_images,
        num_val_images=len(val) * len(training.networks),
        seconds=time.perf_counter() - begin,
        weights=weights_file(training),
    )
    write_result(folder, training, result)


def is_done(work: Work) -> bool:
    """Whether the result of a training has been written."""
    return read_result(work.folder, work.training) is not None


Images = tuple[ImageSet, ImageSet]  # to train and to judge on


def build_problem(config: RunConfig, classes: tuple[str, ...]) -> Problem:
    """Return what a search of ``config`` is about.

    Raises:
        InputError: a key of ``project`` is wrong.
    """
    project = read_project(config.project, SearchConfig)
    return Problem(read_macro(project.macro, project.multiplier), config.model.head, classes, config.data)


def type_at(step: int, num_types: int, seed: int, key: tuple[int, ...]) -> int:
    """Return the type that a step of stage one trains: one a step, each once in ``num_types`` steps, in random order.

    The paper does not say how types are sampled. This is uniform, and with few steps leaves none of them out.
    """
    turn, place = divmod(step, num_types)
    return int(torch.randperm(num_types, generator=generator(seed, Purpose.ARCHITECTURES, turn, *key))[place])


class _Outcome(NamedTuple):
    weights: dict[str, Tensor]
    accuracies: list[float]
    fitted: FitHistory


def _train_shared(work: Work, training: Shared, problem: Problem, images: Images, device: torch.device) -> _Outcome:
    """Stage one: at each step one of the types is trained, together with all that they share. All types start anew."""
    config = work.config
    with forked(config.seed, Purpose.INITIALISATION, *training.key):
        model = problem.model(training.choices)
        shared = SharedModels(
            model, training.position, [problem.types[training.position][kind] for kind in training.types]
        )
    if training.start:
        _load(model, work.folder / training.start, new_block=training.position)
    move_model(shared, config, device)
    fitted = fit(
        shared,
        lambda step: shared.of(type_at(step, len(training.types), config.seed, training.key)),
        images[0],
        config,
        epochs=training.epochs,
        final_lr=None,
        key=training.key,
        device=device,
    )
    if not all(map(math.isfinite, fitted.losses)):
        raise InputError(f"the loss of {training.name} is no number; lower optimizer.lr")
    numbers = range(len(training.types))
    accuracies = [accuracy_by_batch(shared.of(number), images[1], config, device) for number in numbers]
    return _Outcome(shared.weights(), accuracies, fitted)


def _train_alone(work: Work, training: Independent, problem: Problem, images: Images, device: torch.device) -> _Outcome:
    """Stage two: one network is trained on its own, from the weights that it had in stage one."""
    config = work.config
    with forked(config.seed, Purpose.INITIALISATION, *training.key):
        model = problem.model(training.choices)
    if training.start:
        _load(model, work.folder / training.start)
    move_model(model, config, device)
    fitted = fit(
        model,
        lambda step: model,
        images[0],
        config,
        epochs=training.epochs,
        final_lr=read_project(config.project, SearchConfig).final_lr,
        key=training.key,
        device=device,
    )
    return _Outcome(model.state_dict(), [accuracy(model, images[1], config, device)], fitted)


def _load(model: TaskNet, path: Path, new_block: int | None = None) -> None:
    """Load a model's weights, of a file that may hold more; those of the block ``new_block`` stay as they are."""
    kept = None if new_block is None else f"network.blocks.{new_block}."
    own = model.state_dict()
    stored = read_weights(path)
    weights = {name: stored[name] for name in own if name in stored and (kept is None or not name.startswith(kept))}
    load_by_name(model, weights, optional=kept, origin=path)


def move_model(module: nn.Module, config: RunConfig, device: torch.device) -> None:
    """Bring a module to the device, in the precision and the memory format of the run."""
    module.to(device, WEIGHT_DTYPES[config.runtime.precision]).to(memory_format=torch.channels_last)
