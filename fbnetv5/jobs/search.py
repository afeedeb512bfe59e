"""Search: train the supernet and the tasks' distributions together, then write one topology file per task."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fbnetv5.archs.cost import Cost, has_one_pixel, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import remove_folder, reported
from fbnetv5.base.origin import Origin
from fbnetv5.base.paths import local_path
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Source
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_normalisation, read_origin, read_weights, save_weights
from fbnetv5.config.schema import ModelConfig, RunConfig
from fbnetv5.config.targets import build_target, find_class, require_members
from fbnetv5.data.augmentation import check_crop, crop_side
from fbnetv5.data.sources import build_source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.optim import build_optimizer, check_optimizer
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.engine.run_folder import require_unclaimed
from fbnetv5.engine.trainer import check_duration, train
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.extend import freeze_network, read_finished
from fbnetv5.jobs.family import write_families
from fbnetv5.jobs.joint_topologies import check_joint, write_joint
from fbnetv5.jobs.judge import num_whole
from fbnetv5.jobs.last_look import Looked, halves_of, held_out_rows, read_verdicts, take_last_look, write_last_look
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.latency.block_costs import find_block_costs
from fbnetv5.model.start import start_from_trunk
from fbnetv5.report.draw import Panel, draw_topologies
from fbnetv5.report.html import try_report
from fbnetv5.report.joint_file import JOINT
from fbnetv5.report.task_family import FAMILY, FOLDER
from fbnetv5.report.task_look import LAST_LOOK
from fbnetv5.search.algorithms import SearchAlgorithm
from fbnetv5.search.derive import most_likely, most_likely_within
from fbnetv5.search.last_look import LastLook
from fbnetv5.search.regression import MIN_SCORES
from fbnetv5.search.space import SearchSpace
from fbnetv5.tasks.build import build_tasks, check_labels
from fbnetv5.tasks.multitask import MultitaskNet, build_multitask_net
from fbnetv5.tasks.task import Task

FAR_ABOVE = 100  # times what all blocks take: no budget in milliseconds, but one in MACs
METHOD_MEMBERS = ("draw", "loss_weights", "update", "state_dict", "load_state_dict")  # of a ``SearchAlgorithm``


FOUND = (  # what another look at a search replaces
    *("topology_*.yaml", "topology_*.png", "topologies.png", LAST_LOOK, JOINT),
    *(f"{FOLDER}*/[0-9]*_*{unit}" for unit in ("M.yaml", "ms.yaml")),
    f"{FOLDER}*/{FAMILY}",
)


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
        require_unclaimed(config, folder)
        supernet = build_run(config, world, folder)
        _say_few_pairs(supernet)
        train(supernet, folder)
        looked = take_last_look(supernet)
        if world.is_main:
            clear_found(folder)
            save_weights(folder / WEIGHTS, supernet.weights, supernet.model.normalisation, supernet.model.origin)
            write_topologies(supernet, folder, looked)
            try_report(folder)


def _say_few_pairs(run: SupernetRun) -> None:
    """Say where there are fewer antithetic pairs an iteration than tasks that learn from one each."""
    num_samples, num_tasks = run.config.search.num_samples, len(run.model.tasks)
    if run.world.is_main and getattr(run.algorithm, "draws", None) == "pairs" and num_samples < 2 * num_tasks:
        unit = math.lcm(2, run.config.search.group * run.world.size)
        enough = math.ceil(2 * num_tasks / unit) * unit
        print(
            f"search.num_samples={num_samples} are {num_samples // 2} pairs for {num_tasks} tasks, each of which then "
            f"learns from a part of the iterations; search.num_samples={enough}, with a search.batch_size that it "
            "divides, has one for each"
        )


def clear_found(folder: Path) -> None:
    """Remove what an earlier look at the same supernet has found, and nothing else that lies in its folders."""
    for file in [file for pattern in FOUND for file in folder.glob(pattern) if not file.is_dir()]:
        with reported(file):
            file.unlink()
    for family in folder.glob(f"{FOLDER}*"):
        if family.is_dir() and not any(family.iterdir()):
            remove_folder(family)


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


def check_budget(key: str, budget: float | None, cost: str, block_costs: Sequence[float]) -> None:
    """Raise InputError where a budget, ``search.<key>``, is in another unit: below any block's cost, or MACs for ms."""
    least, all_of_them = min((cost for cost in block_costs if cost > 0), default=0.0), sum(block_costs)
    if budget is not None and budget < least:
        raise InputError(
            f"search.{key}={budget:g} is less than any block costs ({least:.3g} in {cost}), so that "
            "topologies would have none; it is in the unit of search.cost, which may be macs, params or latency"
        )
    if budget is not None and cost == "latency" and budget > FAR_ABOVE * all_of_them:
        raise InputError(
            f"search.{key}={budget:g} is in milliseconds where search.cost=latency, and all blocks together take "
            f"{all_of_them:.3g}; give search.{key}={all_of_them / 2:.2g}, or null for any"
        )


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
    rows = rows[: 2 * num_whole(len(rows) // 2)]  # both halves come in whole batches
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


def check_sizes(config: RunConfig, world: World) -> None:
    """Raise InputError unless steps, batch, samples and processes fit together."""
    search = config.search
    check_duration("search", search)
    check_optimizer(config.optimizer)
    if search.num_samples % world.size:
        raise InputError(f"search.num_samples={search.num_samples} cannot be shared by {world.size} processes")
    if search.batch_size % search.num_samples:
        raise InputError(
            f"search.batch_size={search.batch_size} must be a multiple of search.num_samples={search.num_samples}: "
            "each architecture sees an equal share of the images"
        )
    if search.num_samples // world.size % search.group:
        fits = search.num_samples % search.group == 0
        fewer = f" or take at most {search.num_samples // search.group} processes" if fits else ""
        raise InputError(
            f"search.group={search.group} does not divide the {search.num_samples // world.size} architectures of a "
            f"process: those of a group see the same images. Set search.group=1,{'' if fewer else ' or'} set "
            f"search.num_samples to a multiple of {search.group * world.size}{fewer}"
        )
    crop = crop_side(config.data)
    check_crop(config.data)
    if search.batch_size == search.num_samples and has_one_pixel(get_family(config.model.family), crop, -1):
        raise InputError(
            f"one image of {crop} pixels an architecture leaves batch normalisation a single value on "
            "path 3; raise search.batch_size or data.crop"
        )
    if below := [name for name, weight in search.task_weights.items() if weight < 0]:
        raise InputError(f"search.task_weights: that of {below[0]} is below 0; with 0 the supernet does not learn it")
    unknown = set(search.task_weights) - set(config.tasks)
    if unknown:
        raise InputError(f"search.task_weights names {', '.join(sorted(unknown))}, which is no task of this run")


def check_partial(config: RunConfig, tasks: Mapping[str, Task], images: Source) -> None:
    """Raise InputError if a head may see one labelled image alone whose feature is a single value."""
    crop, family = crop_side(config.data), get_family(config.model.family)
    for name, task in tasks.items():
        if images.num_labelled(task.target.name) < len(images) and has_one_pixel(family, crop, task.path):
            raise InputError(
                f"'{name}' is labelled on a part of the images: one image of {crop} pixels alone leaves batch "
                f"normalisation a single value on path {task.path}; raise data.crop"
            )


def load_initial_weights(model: MultitaskNet, config: ModelConfig, *, is_main: bool) -> None:
    """Load the weights that ``model.weights`` or ``model.trunk_weights`` names, if any, and their normalisation.

    Raises:
        InputError: they cannot be read, or do not fit.
    """
    found = start_from_trunk(model.network, config, is_main=is_main)
    if found is not None:
        model.normalisation, model.origin = found.normalisation, Origin.of(found.origin, found.license)
    if config.weights is not None:
        path = local_path(config.weights)
        model.normalisation = read_normalisation(path)
        model.origin = read_origin(path) or Origin.of(config.weights)
        fresh = load_by_name(model, read_weights(path), optional="heads.", origin=path)
        heads = sorted({name.split(".")[1] for name in fresh})
        if heads and is_main:
            print(f"{path}: no weights for the heads of {', '.join(heads)}; they start afresh", file=sys.stderr)


def write_topologies(run: SupernetRun, folder: Path, looked: Looked | None = None) -> None:
    """Derive each task's topology, from the last look or else its probabilities, and write, draw and print it.

    The families of the tasks are written with them, and the topologies of one network for all tasks.
    """
    panels = []
    look = None if looked is None else looked.look
    if looked is not None:
        write_last_look(looked.look, run, folder)
        write_families(run, looked.families, folder)
    elif not any(p.ne(p[:, :1]).any() for p in run.algorithm.distribution.probabilities()):
        print("all blocks are as likely as not, as nothing has moved their probabilities: topologies have none of them")
    joint = "" if looked is None or len(run.model.tasks) == 1 else write_joint(run, looked.look, folder)
    latency_title = "" if run.latency is None else f"{'latency':>12}"
    print(f"{'task':<8}{'selected':>9}{'seen':>6}{'backbone MACs':>15}{'parameters':>12}{latency_title}   file")
    for name, probabilities in zip(run.model.tasks, run.algorithm.distribution.probabilities(), strict=True):
        topology = derive(run, name, probabilities, look)
        path = run.model.tasks[name].path
        side = crop_side(run.config.data)
        seen = topology.prune((path,))
        cost = network_cost(run.model.network.family, seen, (side, side))
        latency_ms = None if run.latency is None else run.latency.network_ms(seen)
        file = folder / f"topology_{name}.yaml"
        topology.save(file, _info(run, name, topology, seen, cost, latency_ms))
        panels.append(_panel(name, seen, topology, probabilities, _cost_text(run, cost, latency_ms)))
        draw_topologies(file.with_suffix(".png"), panels[-1:])
        counts = f"{len(topology.blocks):>9}{len(seen.blocks):>6}"
        latency = "" if latency_ms is None else f"{latency_ms:>9.2f} ms"
        print(f"{name:<8}{counts}{cost.macs / 1e6:>13.1f} M{cost.params / 1e6:>10.2f} M{latency}   {file}")
    draw_topologies(folder / "topologies.png", panels)
    print("seen: blocks that reach the path of the search head; costs are theirs and the trunk's")
    if run.latency is not None:
        print(f"latency: {run.latency.described}")
    print(f"all of them side by side, with the probabilities: {folder / 'topologies.png'}")
    if looked is not None:
        for family in looked.families:
            print(f"family of {family.task}: {family.summary} in {folder / f'{FOLDER}{family.task}'}")
        if joint:
            print(joint)
        for line in read_verdicts(folder):
            print(line)


def derive(run: SupernetRun, task: str, probabilities: Tensor, look: LastLook | None = None) -> Topology:
    """Return the topology of a task that the last look found, or else the likeliest one by probabilities [B, 2].

    It keeps to the budget if there is one.

    It has all outputs, whichever path the search head read: which ones a final network needs, its heads decide.
    """
    budget, space = run.config.search.budget, run.space
    if look is not None:
        return space.decode(look.findings[list(run.model.tasks).index(task)].choices)
    choices = most_likely(probabilities) if budget is None else most_likely_within(probabilities, space, budget)
    return space.decode(choices)


def _info(
    run: SupernetRun, task: str, topology: Topology, seen: Topology, cost: Cost, latency_ms: float | None
) -> dict[str, object]:
    """Return what a topology file says of where it comes from."""
    config = run.config
    info = {
        "task": task,
        "searched_with": {
            "family": config.model.family,
            "input": config.data.crop,
            "cost": config.search.cost,
            "seed": config.seed,
            "run": config.name,
        },
        "head_path": run.model.tasks[task].path,
        "selected_blocks": len(topology.blocks),
        "seen_blocks": len(seen.blocks),
        "backbone_macs": cost.macs,
        "backbone_params": cost.params,
    }
    if run.latency is None or latency_ms is None:
        return info
    return info | {"backbone_latency_ms": round(latency_ms, 4), "latency_on": run.latency.described}


def _cost_text(run: SupernetRun, cost: Cost, latency_ms: float | None) -> str:
    """Return the MACs of a network, and the unit that its blocks cost, if that is another."""
    macs = f"{cost.macs / 1e6:.1f} M MACs"
    if latency_ms is not None:
        return f"{macs}, {latency_ms:.2f} ms"
    return f"{macs}, {cost.params / 1e6:.2f} M parameters" if run.config.search.cost == "params" else macs


def _panel(task: str, seen: Topology, topology: Topology, probabilities: Tensor, cost: str) -> Panel:
    """Return what is drawn of a topology: all its blocks, seen from the path that the search head read."""
    grid = probabilities[:, 1].reshape(topology.num_stages, -1).tolist()
    drawn = Topology(topology.num_stages, topology.blocks, outputs=seen.outputs)
    return Panel(title=task, subtitle=f"{len(seen.blocks)} blocks, {cost}", topology=drawn, probabilities=grid)
