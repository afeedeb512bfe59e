"""All numbers of an ablation, from the table of truth and the folders of its jobs."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.topology import TopologySpace
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs.search import build_algorithm
from fbnetv5.projects.table5.agreement import Scores, guesses, rank_row
from fbnetv5.projects.table5.plan import Plan
from fbnetv5.projects.table5.reliability import reliability
from fbnetv5.projects.table5.truth_table import Row, complete
from fbnetv5.report.run_folder import logged_time
from fbnetv5.runs.job import Outcomes, errors, finished
from fbnetv5.runs.study import find_config

Results = dict[str, Any]


def gather(plan: Plan, outcomes: Outcomes, rows: Sequence[Row], num_processes: int) -> Results:
    """Return what ablation.json holds.

    Args:
        plan: of the ablation.
        outcomes: of the jobs that have ended.
        rows: of the table of truth.
        num_processes: jobs that ran at a time.
    """
    config, done = plan.config, finished(outcomes)
    seeds = plan.truth.config.seeds
    scores = {task: complete(rows, task, seeds) for task in plan.tasks}
    return {
        "name": config.name,
        "config": asdict(config),
        "tasks": list(plan.tasks),
        "metrics": {task: plan.truth.config.train[task].metric for task in plan.tasks},
        "repeats": len(seeds),
        "num_processes": num_processes,
        "random": {task: _random(plan, task, scores[task]) for task in plan.tasks},
        "named": {task: _named(plan, task, scores[task]) for task in plan.tasks},
        "found": [
            {
                "seed": found.seed,
                "method": found.method,
                "task": found.task,
                "under": found.under,
                "topologies": [network.name for network in found.networks],
                "macs": [network.macs for network in found.networks],
                "scores": [_mean(scores[found.task].get(network.name)) for network in found.networks],
            }
            for found in plan.found(done)
        ],
        "searches": [search_row(plan, seed, task, done) for seed in config.seeds for task in plan.searches],
        "ranks": [
            {"seed": seed, "task": task, **rank_row(plan, task, guesses(plan, seed, task), scores[task])}
            for seed in config.seeds
            for task in plan.tasks
            if plan.predict_job(seed, task).name in done
        ],
        "failed": {**errors(outcomes), **plan.errors},
    }


def _random(plan: Plan, task: str, scores: Scores) -> dict[str, Any]:
    """Return the mean scores of the topologies that the table draws, and how far they can be trusted."""
    drawn = {one.name: scores[one.name] for one in plan.truth.drawn[task] if one.name in scores}
    found: dict[str, Any] = {"scores": {name: statistics.mean(values) for name, values in drawn.items()}}
    if len(drawn) > 1 and len(plan.truth.config.seeds) > 1:
        trust = reliability(list(drawn.values()))
        if trust is not None:
            found |= {"icc": trust.same_seeds, "tau_ceiling": trust.tau_ceiling}
    return found


def _named(plan: Plan, task: str, scores: Scores) -> dict[str, Any]:
    return {one.name: {"macs": one.macs, "score": _mean(scores.get(one.name))} for one in plan.truth.named[task]}


def _mean(values: Sequence[float] | None) -> float | None:
    return None if values is None else statistics.mean(values)


def search_row(plan: Plan, seed: int, task: str | None, done: Collection[str]) -> dict[str, Any]:
    """Return the cost of a search, with nulls where it has not finished; passes are counted as in Table 1."""
    job = plan.search_job(seed, task)
    row = {"seed": seed, "method": "multitask" if task is None else "single-task", "task": task}
    if job.name not in done:
        return {**row, "steps": None, "forward_passes": None, "backward_passes": None, "seconds": None}
    config = (
        plan.search if task is None else load_config(find_config(plan.config.search), plan.search_overrides(seed, task))
    )
    steps, seconds = logged_time(job.folder)
    forward, backward = passes_per_sample(config, 1 if task else len(plan.tasks))
    samples = steps * config.search.num_samples
    return {
        **row,
        "steps": steps,
        "forward_passes": forward * samples,
        "backward_passes": backward * samples,
        "seconds": seconds,
    }


def passes_per_sample(config: RunConfig, num_tasks: int) -> tuple[int, int]:
    """Return the forward and backward passes that a sample takes (Table 1), from what the search method draws."""
    slots = config.model.num_stages * NUM_PATHS
    space = TopologySpace(config.model.num_stages, [1.0] * slots)
    draw = build_algorithm(config, space, num_tasks).draw(0)
    if draw.gates is None:
        return 1, 1
    return (1 if draw.shared else num_tasks), num_tasks
