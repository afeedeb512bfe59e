"""Search: train the supernet and the tasks' distributions together, then write one topology file per task."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fbnetv5.archs.cost import Cost, network_cost
from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import start_world
from fbnetv5.base.weights import WEIGHTS, save_weights
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.augmentation import crop_side
from fbnetv5.jobs.supernet import build_run, train_supernet
from fbnetv5.jobs.supernet_step import SupernetRun
from fbnetv5.report.draw import Panel, draw_topologies
from fbnetv5.report.html import try_report
from fbnetv5.search.derive import most_likely, most_likely_within


def run(config: RunConfig, folder: Path) -> None:
    """Search topologies for all tasks of ``config`` in one run, by default with FBNetV5's algorithm 4.

    With ``search.extend`` they are added to a finished search, whose supernet is kept.

    Writes to ``folder``: config.yaml, metrics.jsonl, probabilities.csv, tensorboard/, checkpoints/, model.safetensors
    (the supernet), and for each task topology_<task>.yaml and .png; topologies.png shows them side by side, report.html
    the whole run.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    with start_world(config.runtime.device, config.runtime.threads) as world:
        supernet = build_run(config, world, folder)
        train_supernet(supernet, folder)
        if world.is_main:
            save_weights(folder / WEIGHTS, supernet.weights)
            write_topologies(supernet, folder)
            try_report(folder)


def write_topologies(run: SupernetRun, folder: Path) -> None:
    """Derive each task's topology from its probabilities, and write, draw and print it."""
    panels = []
    latency_title = "" if run.latency is None else f"{'latency':>12}"
    print(f"{'task':<8}{'selected':>9}{'seen':>6}{'backbone MACs':>15}{'parameters':>12}{latency_title}   file")
    for name, probabilities in zip(run.model.tasks, run.algorithm.distribution.probabilities(), strict=True):
        topology = derive(run, probabilities)
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
    print(f"all of them side by side, with the probabilities: {folder / 'topologies.png'}")


def derive(run: SupernetRun, probabilities: Tensor) -> Topology:
    """Return the most likely topology of one task's probabilities [B, 2], under the budget if there is one.

    It has all outputs, whichever path the search head read: which ones a final network needs, its heads decide.
    """
    budget, space = run.config.search.budget, run.space
    choices = most_likely(probabilities) if budget is None else most_likely_within(probabilities, space, budget)
    return space.decode(choices)


def _info(
    run: SupernetRun, task: str, topology: Topology, seen: Topology, cost: Cost, latency_ms: float | None
) -> dict[str, object]:
    """What a topology file says of where it comes from."""
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
    return info | {"backbone_latency_ms": round(latency_ms, 4), "latency_on": str(run.latency.conditions)}


def _cost_text(run: SupernetRun, cost: Cost, latency_ms: float | None) -> str:
    """The MACs of a network, and what else its blocks were counted in."""
    macs = f"{cost.macs / 1e6:.1f} M MACs"
    if latency_ms is not None:
        return f"{macs}, {latency_ms:.2f} ms"
    return f"{macs}, {cost.params / 1e6:.2f} M parameters" if run.config.search.cost == "params" else macs


def _panel(task: str, seen: Topology, topology: Topology, probabilities: Tensor, cost: str) -> Panel:
    """What is drawn of a topology: all its blocks, seen from the path that the search head read."""
    grid = probabilities[:, 1].reshape(topology.num_stages, -1).tolist()
    drawn = Topology(topology.num_stages, topology.blocks, outputs=seen.outputs)
    return Panel(title=task, subtitle=f"{len(seen.blocks)} blocks, {cost}", topology=drawn, probabilities=grid)
