"""What a search ends with for one network of all tasks: their topologies under one budget for the sum."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fbnetv5.archs.cost import Cost, network_cost
from fbnetv5.archs.joint import joint_costs
from fbnetv5.archs.topology import Topology, save_joint
from fbnetv5.base.errors import InputError
from fbnetv5.data.augmentation import crop_side
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.report.joint_file import JOINT
from fbnetv5.search.joint import best_together
from fbnetv5.search.last_look import LastLook
from fbnetv5.search.space import cost_of


def check_joint(run: SupernetRun) -> None:
    """Raise InputError where the options of joint.yaml do not fit the tasks or the space."""
    options, space = run.config.search.last_look, run.space
    unknown = set(options.joint_weights) - set(run.model.tasks)
    if unknown:
        raise InputError(f"search.last_look.joint_weights names {', '.join(sorted(unknown))}, no task of this run")
    if any(weight <= 0 for weight in options.joint_weights.values()):
        raise InputError("search.last_look.joint_weights must be above 0; a task that is not wanted is left out later")
    cheapest = len(run.model.tasks) * sum(min(costs) for costs in space.option_costs)
    if options.joint_budget is not None and options.joint_budget < cheapest:
        raise InputError(f"search.last_look.joint_budget={options.joint_budget:g} is below the cheapest, {cheapest:g}")


def write_joint(run: SupernetRun, look: LastLook, folder: Path) -> str:
    """Write joint.yaml, and return a line that says what is in it.

    The topologies are those of the least sum of predicted scores, each in deviations and times its task's weight,
    whose blocks cost at most ``search.last_look.joint_budget`` together. The trunk, which all share, is not in it.
    """
    options, space, tasks = run.config.search.last_look, run.space, list(run.model.tasks)
    derived = sum(cost_of(space, finding.choices) for finding in look.findings)
    budget = derived if options.joint_budget is None else options.joint_budget
    weights = [options.joint_weights.get(task, 1.0) for task in tasks]
    found = best_together(space, [finding.worth for finding in look.findings], budget, weights)
    topologies = {task: space.decode(choices) for task, choices in zip(tasks, found.choices, strict=True)}
    paths = {task: run.model.tasks[task].path for task in tasks}
    seen = {task: topology.prune((paths[task],)) for task, topology in topologies.items()}
    family, side = run.model.network.family, crop_side(run.config.data)
    together = sum(joint_costs(family, seen, "trunk", (side, side)).values(), Cost())
    apart = sum((network_cost(family, one, (side, side)) for one in seen.values()), Cost())
    info = {
        "run": run.config.name,
        "unit": run.config.search.cost,  # of budget and cost
        "budget": budget,
        "cost": found.cost,
        "weights": dict(zip(tasks, weights, strict=True)),
        "head_paths": paths,
        "macs": together.macs,
        "separate_macs": apart.macs,
        "params": together.params,
        "separate_params": apart.params,
        **_latency(run, seen.values()),
    }
    save_joint(folder / JOINT, topologies, info)
    sure = "" if found.shortfall == 0 else f"; at most {found.shortfall:.2f} deviations are missing"
    timed = f"{info['backbone_latency_ms']:.2f} ms, " if "backbone_latency_ms" in info else ""
    return (
        f"one network for {', '.join(tasks)}: {timed}{together.macs / 1e6:.1f} M MACs without heads, "
        f"{apart.macs / 1e6:.1f} M apart{sure}   {folder / JOINT}"
    )


def _latency(run: SupernetRun, seen: Iterable[Topology]) -> dict[str, object]:
    """Return what the file says of the network's milliseconds, where the search counted them."""
    if run.latency is None:
        return {}
    return {"backbone_latency_ms": round(run.latency.joint_ms(seen), 4), "latency_on": run.latency.described}
