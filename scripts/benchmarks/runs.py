"""Runs to measure: from a config file to a supernet with its heads, and to batches that lie on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Batch, Source
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.loader import build_loader
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.search.algorithms import MultitaskReinforce
from fbnetv5.tasks.multitask import MultitaskNet


def still_config(file: Path, overrides: Sequence[str]) -> RunConfig:
    """Read a config file, and keep the run at its start: every iteration does its work, and nothing moves.

    Raises:
        InputError: there is no such file, or the file or an override does not fit the schema.
    """
    if not file.is_file():
        raise InputError(f"--config {file}: there is no such file")
    config = load_config(file, overrides)
    # an architecture rate of zero would leave the update out
    search = replace(config.search, arch_start=0.0, arch_lr=1e-12)
    return replace(config, search=search, optimizer=replace(config.optimizer, lr=0.0))


def with_num_tasks(config: RunConfig, num_tasks: int) -> RunConfig:
    """Return the config with its first ``num_tasks`` tasks, which are repeated under new names if they are too few."""
    entries = list(config.tasks.items())
    tasks = {}
    for i in range(num_tasks):
        copy, position = divmod(i, len(entries))
        name, entry = entries[position]
        tasks[f"{name}_{copy + 1}" if copy else name] = entry
    return replace(config, tasks=tasks)


def reinforce(config: RunConfig, space: TopologySpace, num_tasks: int) -> MultitaskReinforce:
    """Return algorithm 4 as a search with ``config`` starts it, with the weighted baseline."""
    return MultitaskReinforce(space, num_tasks=num_tasks, num_samples=config.search.num_samples, seed=config.seed)


def build(config: RunConfig, world: World) -> SupernetRun:
    """Build the search of ``config``, in training mode."""
    run = build_run(config, world)
    run.model.train()
    return run


def load_batches(config: RunConfig, source: Source, model: MultitaskNet, world: World, count: int) -> list[Batch]:
    """Load the first ``count`` batches of a run to the device, in the type and layout that the network takes."""
    targets = [task.target for task in model.tasks.values()]
    loader = build_loader(
        config.data,
        source,
        targets,
        world,
        steps=range(count),
        batch_size=config.search.batch_size,
        workers=0,
        seed=config.seed,
        normalisation=model.normalisation,
    )
    batches = [batch.to(world.device) for batch in loader]
    for batch in batches:
        batch.images = batch.images.to(WEIGHT_DTYPES[config.runtime.precision], memory_format=torch.channels_last)
    return batches


def autocast(config: RunConfig, device: torch.device) -> torch.autocast:
    """Return the mixed precision of a config: bfloat16, or none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.runtime.precision == "bfloat16")


def architectures(run: SupernetRun, step: int) -> list[Topology]:
    """Return the pruned architectures that ``supernet_step`` runs at a step."""
    return [run.space.decode(row).prune(run.model.head_paths) for row in run.algorithm.draw(step).choices.tolist()]


def backward_from_features(features: Iterable[Tensor]) -> None:
    """Go back from the features of a network alone, as if from a loss on each path."""
    torch.stack([feature.float().mean() for feature in features]).sum().backward()
