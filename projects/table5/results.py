"""All numbers of an ablation, from the folders of its jobs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from omegaconf import OmegaConf

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.topology import TopologySpace
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target
from fbnetv5.jobs.evaluate import METRICS
from fbnetv5.projects.table5.plan import METHODS, Plan
from fbnetv5.projects.table5.predict import prediction_file
from fbnetv5.report.run_folder import logged_time, read_json
from fbnetv5.runs.job import Outcomes, errors, finished
from fbnetv5.runs.study import find_config
from fbnetv5.search.algorithms import Draw

Results = dict[str, Any]


def gather(plan: Plan, outcomes: Outcomes, num_processes: int) -> Results:
    """Return what ablation.json holds.

    Args:
        plan: of the ablation.
        outcomes: of the jobs that have ended.
        num_processes: jobs that ran at a time.
    """
    config, done = plan.config, finished(outcomes)
    return {
        "name": config.name,
        "config": OmegaConf.to_container(OmegaConf.structured(config), resolve=True),
        "tasks": list(plan.tasks),
        "metrics": {task: config.train[task].metric for task in plan.tasks},
        "num_processes": num_processes,
        "least_macs": plan.window.least,
        "most_macs": plan.window.most,
        "searches": [search_row(plan, seed, task, done) for seed in config.seeds for task in (None, *plan.tasks)],
        "topologies": [row for seed in config.seeds for task in plan.tasks for row in _rows(plan, seed, task, done)],
        "failed": {**errors(outcomes), **plan.errors},
    }


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
    num_tasks = 1 if task else len(plan.tasks)
    forward, backward = passes_per_sample(config, num_tasks)
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
    algorithm = build_target(
        "search.algorithm", config.search.algorithm, space, num_tasks=num_tasks, num_samples=2, seed=0
    )
    draw: Draw = algorithm.draw(0)
    if draw.gates is None:
        return 1, 1
    return (1 if draw.shared else num_tasks), num_tasks


def _rows(plan: Plan, seed: int, task: str, done: Collection[str]) -> list[dict[str, Any]]:
    """Return a row for each distinct topology of a task, with the methods that sampled it."""
    by_method = {method: plan.sample(seed, method, task, done) for method in METHODS}
    distinct = {one.code: one for sampled in by_method.values() for one in sampled}
    predicted = read_json(prediction_file(plan.root, f"seed-{seed}/predict-{task}")).get("losses", {})
    rows = []
    for code, one in distinct.items():
        job = plan.train_job(seed, task, one)
        metrics = read_json(job.folder / METRICS).get("metrics", {}) if job.name in done else {}
        rows.append(
            {
                "seed": seed,
                "task": task,
                "code": code,
                "methods": [method for method, sampled in by_method.items() if code in {s.code for s in sampled}],
                "blocks": len(one.topology.blocks),
                "backbone_macs": one.macs,
                "predicted_loss": predicted.get(code) if f"seed-{seed}/predict-{task}" in done else None,
                "score": metrics.get(plan.config.train[task].metric),
                "metrics": {name: value for name, value in metrics.items() if "/" not in name},
            }
        )
    return rows
