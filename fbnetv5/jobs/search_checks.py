"""Checks of a search before it starts: sizes, processes, budgets and labels that do not fit together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fbnetv5.archs.cost import has_one_pixel
from fbnetv5.archs.families import get_family
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Source
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.search import SearchConfig
from fbnetv5.data.augmentation import check_crop, crop_side
from fbnetv5.engine.optim import check_optimizer
from fbnetv5.engine.trainer import check_duration
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.tasks.task import Task

FAR_ABOVE = 100  # times what all blocks take: no budget in milliseconds, but one in MACs


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
        raise InputError(f"search.task_weights: that of {below[0]} is below 0; with 0 nothing but logits learns it")
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


def check_share(search: SearchConfig, block_costs: Sequence[float]) -> None:
    """Raise InputError where a budget that is a share of what all blocks cost is below any block's."""
    share, least = search.budget_share, min((cost for cost in block_costs if cost > 0), default=0.0)
    if search.budget is None and share is not None and share * sum(block_costs) < least:
        raise InputError(
            f"search.budget_share={share:g} is less than any block costs: {least / sum(block_costs):.3g} of all"
        )


def say_few_pairs(run: SupernetRun) -> None:
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
