"""Parameter adaptation: a searched architecture is trained on its task, from remapped parameters (Sec. 3.2.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.documents import shortened
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.paths import local_path
from fbnetv5.base.types import Batch
from fbnetv5.base.weights import WEIGHTS, read_normalisation, read_origin, read_weights, save_weights
from fbnetv5.config.identity import require_unclaimed
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import ModelConfig, RunConfig
from fbnetv5.data.loader import build_train_loader
from fbnetv5.engine.batch_norm import recalibrate_bn
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.train import Training, build_training, train_and_report
from fbnetv5.projects.fna.methods import SearchResult, read_result
from fbnetv5.projects.fna.network import network_entry
from fbnetv5.projects.fna.options import ADAPT_STARTS, AdaptOptions, check_choice
from fbnetv5.projects.fna.problem import check_widths, strategy
from fbnetv5.projects.fna.remap import collect_from_super_network, remap_network
from fbnetv5.projects.fna.seeds import load_seed

START = "start.safetensors"  # the remapped parameters
CHECKPOINTS = "checkpoints"


def run(config: RunConfig, folder: Path) -> None:
    """Train the architecture that a search found, and evaluate it.

    ``project`` has the keys of :class:`~fbnetv5.projects.fna.options.AdaptOptions`. The network and its first weights
    come from the search; options of the network, such as ``freeze_bn``, stand under ``model.network``. Other keys are
    as for the job ``train``.

    Writes to ``folder``: start.safetensors, the remapped parameters, and what the job ``train`` writes.

    Raises:
        InputError: the configuration, the search, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime) as world:
        train_and_report(build_adaptation(config, world, folder), folder)


def build_adaptation(config: RunConfig, world: World, folder: Path) -> Training:
    """Build the training of the searched architecture from its remapped parameters.

    Raises:
        InputError: the configuration, the search or its data do not fit together.
    """
    options = read_project(config.project, AdaptOptions)
    check_choice("project.start", options.start, ADAPT_STARTS)
    result = read_result(local_path(options.search))
    check_network(config.model)
    require_unclaimed(config, folder)
    weights, normalisation, origin = first_weights(options, result)
    has_begun = any((folder / CHECKPOINTS).glob("step-*"))
    world.barrier()  # all ranks have looked before one of them writes
    if weights is not None and world.is_main and not (has_begun and (folder / START).exists()):
        save_weights(folder / START, weights, normalisation, origin)
    world.barrier()
    entry = network_entry(result.architecture, result.info["output_stride"])
    network = entry | {key: value for key, value in config.model.network.items() if key != "architecture"}
    model = replace(config.model, network=network, weights=None if weights is None else str(folder / START))
    training = build_training(replace(config, model=model), world)
    if options.calibration_steps and not has_begun:  # else they are read from a checkpoint
        calibrate(training, options.calibration_steps)
    return replace(training, config=config)  # a resumed run must share what was asked for


def check_network(model: ModelConfig) -> None:
    """Raise InputError for keys of a final model that come from the search instead."""
    for key, value in (("weights", model.weights), ("network.architecture", model.network.get("architecture"))):
        if value is not None:
            raise InputError(
                f"model.{key}={shortened(str(value))} is not read: project.search says what is trained; remove it"
            )


class FirstWeights(NamedTuple):
    """Parameters by the names of a final model, what images are normalised with, and where they come from."""

    weights: dict[str, Tensor] | None
    normalisation: Normalisation
    origin: Origin | None


def first_weights(options: AdaptOptions, result: SearchResult) -> FirstWeights:
    """Return what a training starts from.

    There are none where they are random. From the super network they include the head's.

    Raises:
        InputError: the search has no super network, or seed and architecture do not fit.
    """
    if options.start == "random":
        return FirstWeights(None, IMAGENET, None)
    if options.start == "super":
        file = local_path(options.search) / WEIGHTS
        weights = _from_super_network(file, result)
        return FirstWeights(weights, read_normalisation(file), read_origin(file) or Origin.of(str(file)))
    found = result.info.get("searched_with", {})
    name = options.seed or found.get("seed_network")
    if name is None:
        raise InputError(f"project.seed is missing, and {options.search} does not say which seed it had")
    seed = load_seed(name, options.seed_weights or (None if options.seed else found.get("seed_weights")))
    check_widths(result.space, seed)
    remapped = remap_network(seed.weights, seed.architecture, result.architecture, strategy(options.remap))
    weights = {f"network.{key}": tensor for key, tensor in remapped.items()}
    return FirstWeights(weights, seed.normalisation, seed.first)


def calibrate(training: Training, num_steps: int) -> None:
    """Recalculate BN's statistics of the network on ``num_steps`` batches of the training (Sec. 4.4)."""
    config, world, model = training.config, training.world, training.model
    batches = build_train_loader(
        config.data,
        training.source,
        model.head.target,
        world,
        steps=range(num_steps),
        batch_size=config.train.batch_size,
        workers=config.runtime.workers,
        seed=config.seed,
        normalisation=model.normalisation,
    )

    def forward(batch: Batch) -> object:
        images = batch.images.to(world.device, WEIGHT_DTYPES[config.runtime.precision])
        return model.network(images)

    recalibrate_bn(model, forward, batches)
    world.average_buffers(model)
    if training.ema is not None:
        training.ema.module.load_state_dict(model.state_dict())


def _from_super_network(file: Path, result: SearchResult) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(
            f"{file} is missing: only a differentiable search leaves a super network; choose project.start=seed"
        )
    weights = read_weights(file)
    of_network = {name.removeprefix("network."): w for name, w in weights.items() if name.startswith("network.")}
    of_head = {name: w for name, w in weights.items() if name.startswith("head.")}
    collected = collect_from_super_network(of_network, result.space, result.choices, origin=file)
    return {f"network.{name}": tensor for name, tensor in collected.items()} | of_head
