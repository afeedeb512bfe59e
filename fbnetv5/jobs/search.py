"""Search: train the supernet and the tasks' distributions together, then write one topology file per task."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from fbnetv5.archs.cost import has_one_pixel
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.origin import Origin
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Source
from fbnetv5.base.weights import (
    WEIGHTS,
    load_by_name,
    read_normalisation,
    read_origin,
    read_weights,
    save_weights,
    weights_file,
)
from fbnetv5.config.schema import ModelConfig, RunConfig
from fbnetv5.config.targets import build_target, find_class, require_members
from fbnetv5.data.augmentation import crop_side
from fbnetv5.data.sources import build_source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.optim import build_optimizer
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.engine.trainer import train
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.derived import clear_found, write_topologies
from fbnetv5.jobs.extend import freeze_network, read_finished
from fbnetv5.jobs.joint_topologies import check_joint
from fbnetv5.jobs.last_look import halves_of, held_out_rows, take_last_look
from fbnetv5.jobs.search_checks import check_budget, check_partial, check_share, check_sizes, say_few_pairs
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.latency.block_costs import find_block_costs
from fbnetv5.model.start import start_from_trunk
from fbnetv5.report.html import try_report
from fbnetv5.search.algorithms import SearchAlgorithm
from fbnetv5.search.regression import MIN_SCORES
from fbnetv5.search.space import SearchSpace
from fbnetv5.tasks.build import build_tasks, check_labels
from fbnetv5.tasks.multitask import MultitaskNet, build_multitask_net
from fbnetv5.tasks.task import Task

METHOD_MEMBERS = ("draw", "loss_weights", "update", "state_dict", "load_state_dict")  # of a ``SearchAlgorithm``
METHOD_STATE = ("distribution", "cost_term")  # what one has when it is built


def run(config: RunConfig, folder: Path) -> None:
    """Search topologies for all tasks of ``config`` in one run, by default with FBNetV5's algorithm 4.

    With ``search.extend`` they are added to a finished search, whose supernet is kept.

    Writes to ``folder``: config.yaml, metrics.jsonl, probabilities.csv, tensorboard/, checkpoints/, model.safetensors
    (the supernet), and for each task topology_<task>.yaml and .png, and family_<task>/ with topologies of many costs;
    joint.yaml those of one network for all tasks; topologies.png shows the first side by side, report.html the whole
    run.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime) as world:
        supernet = build_run(config, world, folder)
        say_few_pairs(supernet)
        train(supernet, folder)
        if world.is_main:  # before the last look, which may fail
            save_weights(folder / WEIGHTS, supernet.weights, supernet.model.normalisation, supernet.model.origin)
        looked = take_last_look(supernet)
        if world.is_main:
            clear_found(folder)
            write_topologies(supernet, folder, looked)
            try_report(folder)


def build_run(config: RunConfig, world: World, folder: Path | None = None, source: Source | None = None) -> SupernetRun:
    """Build data, supernet, optimiser and search method of a run; all ranks build the same.

    A resumed run goes on with the latencies in its ``folder``, if they are what blocks cost. Images come from
    ``source``, by default the training split that ``config.data`` names.

    Raises:
        InputError: the configuration does not fit together, or its data do not serve its tasks.
    """
    check_sizes(config, world)
    search, num_stages, side = config.search, config.model.num_stages, crop_side(config.data)
    tasks = build_tasks(config.tasks)
    kept = {} if search.extend is None else read_finished(search.extend, config.job, config.model, tasks)
    images = build_source(config.data) if source is None else source
    check_labels(tasks, images)
    check_partial(config, tasks, images)
    source, held_out = split_off(config, images, tasks)
    family = get_family(config.model.family)
    with forked(config.seed, Purpose.INITIALISATION):
        model = build_multitask_net(MultiPathNet(family, Topology.full(num_stages)), tasks, source)
    if kept:
        freeze_network(model, kept, str(search.extend))
    else:
        load_initial_weights(model, config.model, is_main=world.is_main)
    model.to(device=world.device, dtype=WEIGHT_DTYPES[config.runtime.precision])
    model.to(memory_format=torch.channels_last)
    earlier = folder if config.resume else None
    costs = find_block_costs(search, config.runtime, family, num_stages, side, world, earlier)
    check_budget("budget", search.budget, search.cost, costs.block_costs)
    check_budget("last_look.joint_budget", search.last_look.joint_budget, search.cost, costs.block_costs)
    check_share(search, costs.block_costs)
    space = TopologySpace(num_stages, costs.block_costs)
    optimizer = build_optimizer(model, config.optimizer)  # passes over what is frozen and has no gradient
    algorithm = build_algorithm(config, space, len(tasks))
    run = SupernetRun(config, world, source, space, model, optimizer, algorithm, kept, costs.latency, held_out)
    check_joint(run)
    return run


def go_on_with_latencies(run: SupernetRun, folder: Path) -> None:
    """Let blocks cost what they did when the run in ``folder`` began, where that is known only after :func:`build_run`.

    Raises:
        InputError: its latencies are missing, damaged or another network's.
    """
    if run.latency is None:
        return
    config, stages = run.config, run.space.num_stages
    family = run.model.network.family
    costs = find_block_costs(config.search, config.runtime, family, stages, crop_side(config.data), run.world, folder)
    run.latency, run.space = costs.latency, TopologySpace(stages, costs.block_costs)
    run.algorithm = build_algorithm(config, run.space, len(run.model.tasks))


def build_algorithm(config: RunConfig, space: SearchSpace, num_tasks: int) -> SearchAlgorithm:
    """Build the search method that ``search.algorithm`` names, for a space and a number of tasks.

    Raises:
        InputError: it is none, or does not fit the other options.
    """
    search = config.search
    sizes = {"num_tasks": num_tasks, "num_samples": search.num_samples, "seed": config.seed}
    method = find_class("search.algorithm", search.algorithm)
    require_members("search.algorithm", search.algorithm, method, METHOD_MEMBERS, "search method")
    if "group" in inspect.signature(method).parameters:  # others take the members of a group for any samples
        sizes["group"] = search.group
    algorithm: SearchAlgorithm = build_target("search.algorithm", search.algorithm, space, **sizes)
    require_members("search.algorithm", search.algorithm, algorithm, METHOD_STATE, "search method")
    return algorithm


def split_off(config: RunConfig, images: Source, tasks: Mapping[str, Task]) -> tuple[Source, Source | None]:
    """Return the images that weights learn from, and those that are kept for the last look; None if it takes none.

    A pretraining keeps those that a search with the same data, seed and ``search.last_look.images`` will look at.

    Raises:
        InputError: a task has too few labelled images for it, or there are too few candidates.
    """
    look = config.search.last_look
    if 0 < look.candidates < MIN_SCORES:
        raise InputError(f"search.last_look.candidates={look.candidates}: at least {MIN_SCORES}, or 0 for no last look")
    if look.family == 1:
        raise InputError("search.last_look.family=1: at least 2 budgets, the trunk's and the best topology's, or 0")
    if config.job not in ("search", "pretrain") or look.candidates == 0:
        return images, None
    rows = held_out_rows(images, [task.target.name for task in tasks.values()], look.images, config.seed)
    if len(rows) == 2 and has_one_pixel(get_family(config.model.family), crop_side(config.data), -1):  # for BN too few
        rows = []
    halves = halves_of(Subset(images, rows), [task.target.name for task in tasks.values()])
    for name, task in tasks.items():
        labelled = set(images.labelled(task.target.name))
        if not all(labelled & {rows[place] for place in half} for half in halves):
            if config.job == "pretrain":
                return images, None
            raise InputError(
                f"'{name}' has {len(labelled)} labelled images, too few to keep some for the last look: a quarter of "
                f"them at most, and search.last_look.images={look.images} of a task; set search.last_look.candidates=0"
            )
    others = np.setdiff1d(np.arange(len(images)), rows).tolist()
    return Subset(images, others), Subset(images, rows)


def load_initial_weights(model: MultitaskNet, config: ModelConfig, *, is_main: bool) -> None:
    """Load the weights that ``model.weights`` or ``model.trunk_weights`` names, if any, and their normalisation.

    Raises:
        InputError: they cannot be read, or do not fit.
    """
    found = start_from_trunk(model.network, config, is_main=is_main)
    if found is not None:
        model.normalisation, model.origin = found.normalisation, Origin.of(found.origin, found.license)
    if config.weights is not None:
        path = weights_file(config.weights)
        model.normalisation = read_normalisation(path)
        model.origin = read_origin(path) or Origin.of(config.weights)
        fresh = load_by_name(model, read_weights(path), optional="heads.", origin=path)
        heads = sorted({name.split(".")[1] for name in fresh})
        if heads and is_main:
            print(f"{path}: no weights for the heads of {', '.join(heads)}; they start afresh", file=sys.stderr)
