"""What searching and pretraining share: a supernet with heads, trained on sampled architectures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from fbnetv5.archs.families import STRIDES, get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.timm_weights import load_timm_weights
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Batch, Source
from fbnetv5.base.weights import load_by_name, read_weights
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target
from fbnetv5.data.augmentation import check_crop, crop_side
from fbnetv5.data.loader import build_loader
from fbnetv5.data.skipped import SkippedImages
from fbnetv5.data.sources import build_source
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.log import RunLog
from fbnetv5.engine.loop import run_loop
from fbnetv5.engine.optim import build_optimizer, check_optimizer
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.jobs.supernet_extend import freeze_network, read_finished, require_same_network, task_names
from fbnetv5.jobs.supernet_step import SupernetRun, supernet_step
from fbnetv5.latency.block_costs import UNITS, find_block_costs, keep_latencies
from fbnetv5.tasks.build import build_tasks, check_labels
from fbnetv5.tasks.multitask import MultitaskNet, build_multitask_net


def build_run(config: RunConfig, world: World, folder: Path | None = None, source: Source | None = None) -> SupernetRun:
    """Build data, supernet, optimiser and search method of a run; all ranks build the same.

    A resumed run goes on with the latencies in its ``folder``, if they are what blocks cost. Images come from
    ``source``, by default the training split that ``config.data`` names.

    Raises:
        InputError: the configuration does not fit together, or its data do not serve its tasks.
    """
    check_sizes(config, world)
    tasks = build_tasks(config.tasks)
    kept = {} if config.search.extend is None else read_finished(config, tasks)
    source = build_source(config.data) if source is None else source
    check_labels(tasks, source)
    family = get_family(config.model.family)
    with forked(config.seed, Purpose.INITIALISATION):
        network = MultiPathNet(family, Topology.full(config.model.num_stages))
        model = build_multitask_net(network, tasks, source)
    if kept:
        freeze_network(model, kept, str(config.search.extend))
    else:
        _load_initial_weights(model, config, world)
    model.to(device=world.device, dtype=WEIGHT_DTYPES[config.runtime.precision])
    model.to(memory_format=torch.channels_last)
    costs = find_block_costs(config, family, world, folder)
    space = TopologySpace(config.model.num_stages, costs.block_costs)
    optimizer = build_optimizer(model, config.optimizer)  # passes over what is frozen and has no gradient
    algorithm = build_target(
        "search.algorithm",
        config.search.algorithm,
        space,
        num_tasks=len(tasks),
        num_samples=config.search.num_samples,
        seed=config.seed,
    )
    return SupernetRun(config, world, source, space, model, optimizer, algorithm, kept, costs.latency)


def train_supernet(run: SupernetRun, folder: Path) -> None:
    """Train from the latest checkpoint, or the start, to the last step; metrics and checkpoints go to ``folder``.

    Raises:
        InputError: as :func:`supernet_step` and :func:`open_run_folder`, or a file cannot be written.
    """
    config, world = run.config, run.world
    checkpointer, checkpoint = open_run_folder(config, folder, world)
    keep_latencies(run.latency, folder, world)
    start_step = checkpoint.step if checkpoint else 0
    log = RunLog(
        folder if world.is_main else None,
        num_steps=run.num_steps,
        batch_size=config.search.batch_size,
        every=config.runtime.log_every,
        start_step=start_step,
    )
    log.say(_summary(run, folder))
    skipped = SkippedImages(world)
    if checkpoint:
        _restore(run, log, checkpoint)
        log.say(f"resuming from step {start_step}")

    def step_on(step: int, batch: Batch) -> dict[str, float]:
        metrics = supernet_step(run, step, batch)
        return metrics if config.data.undecodable == "error" else metrics | {"skipped": skipped.count(batch)}

    def save(step: int) -> None:
        world.average_buffers(run.learner)
        if world.is_main:
            checkpointer.save(step, run.model, _state(run, log))
        world.barrier()

    def record(step: int) -> None:
        if config.job == "search":
            log.probabilities(step, select_probabilities(run), run.space.slot_names)

    targets = [task.target for task in run.model.tasks.values()]
    run.model.train()
    with log:
        run_loop(
            build_loader(config, run.source, targets, world, start_step, run.num_steps),
            start_step=start_step,
            num_steps=run.num_steps,
            train_step=step_on,
            on_record=record,
            save=save,
            save_every=config.runtime.checkpoint_every,
            log=log,
        )
        if skipped.total:
            log.say(f"{skipped.total} times since step {start_step} another image replaced one that could not be read")


def select_probabilities(run: SupernetRun) -> dict[str, list[float]]:
    """Return, by task, the probability that each block is selected, slot by slot."""
    probabilities = run.algorithm.distribution.probabilities()
    return {name: p[:, 1].tolist() for name, p in zip(run.model.tasks, probabilities, strict=True)}


def _summary(run: SupernetRun, folder: Path) -> str:
    """What is about to run, in one line."""
    config, world = run.config, run.world
    tasks = ", ".join(run.model.tasks)
    if run.kept:
        tasks += f", added to {', '.join(task_names(run.kept)) or 'the supernet'} of {config.search.extend}"
    unit = UNITS[config.search.cost] + (f" on {run.latency.conditions}" if run.latency else "")
    return (
        f"{config.job} for {tasks}: family {config.model.family}, {len(run.space.num_options)} "
        f"blocks, their cost in {unit}; {len(run.source):,} images; {run.num_steps:,} steps of "
        f"{config.search.num_samples} architectures; "
        f"{world.size} process(es) on {world.device.type}; writing to {folder}"
    )


def _state(run: SupernetRun, log: RunLog) -> dict[str, Any]:
    """What a checkpoint holds beside the weights; random numbers are keyed by step and need no state."""
    return {
        "optimizer": run.optimizer.state_dict(),
        "algorithm": run.algorithm.state_dict(),
        "log": log.state_dict(),
    }


def _restore(run: SupernetRun, log: RunLog, checkpoint: Checkpoint) -> None:
    require_same_network(run.kept, checkpoint.weights, str(run.config.search.extend))
    run.model.load_state_dict(checkpoint.weights)
    run.optimizer.load_state_dict(checkpoint.state["optimizer"])
    run.algorithm.load_state_dict(checkpoint.state["algorithm"])
    log.load_state_dict(checkpoint.state["log"])


def _load_initial_weights(model: MultitaskNet, config: RunConfig, world: World) -> None:
    if config.model.trunk_weights is not None:
        from_timm = config.model.trunk_weights == "timm"
        load_timm_weights(model.network, None if from_timm else config.model.trunk_weights)
    if config.model.weights is not None:
        path = Path(config.model.weights)
        fresh = load_by_name(model, read_weights(path), optional="heads.", origin=path)
        heads = sorted({name.split(".")[1] for name in fresh})
        if heads and world.is_main:
            print(f"{path}: no weights for the heads of {', '.join(heads)}; they start afresh", file=sys.stderr)


def check_sizes(config: RunConfig, world: World) -> None:
    """Raise InputError unless steps, batch, samples and processes fit together."""
    search = config.search
    if (search.steps is None) == (search.epochs is None):
        raise InputError("give one of search.steps and search.epochs")
    check_optimizer(config.optimizer)
    if search.num_samples % world.size:
        raise InputError(f"search.num_samples={search.num_samples} cannot be shared by {world.size} processes")
    if search.batch_size % search.num_samples:
        raise InputError(
            f"search.batch_size={search.batch_size} must be a multiple of search.num_samples={search.num_samples}: "
            "each architecture sees an equal share of the images"
        )
    crop = crop_side(config.data)
    check_crop(config.data)
    side = crop // STRIDES[-1]
    if search.batch_size // search.num_samples * side * side < 2:
        raise InputError(
            f"one image of {crop} pixels an architecture leaves batch normalisation a single value on "
            "path 3; raise search.batch_size or data.crop"
        )
    unknown = set(search.task_weights) - set(config.tasks)
    if unknown:
        raise InputError(f"search.task_weights names {', '.join(sorted(unknown))}, which is no task of this run")
