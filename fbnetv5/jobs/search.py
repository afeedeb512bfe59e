"""Search: train the supernet and the tasks' distributions together, then write one topology file per task."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fbnetv5.archs.cost import Cost, network_cost
from fbnetv5.archs.topology import Topology
from fbnetv5.config import RunConfig
from fbnetv5.engine.checkpoint import WEIGHTS, save_weights
from fbnetv5.engine.distributed import start_world
from fbnetv5.jobs.checks import crop_side
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
        supernet = build_run(config, world)
        train_supernet(supernet, folder)
        if world.is_main:
            save_weights(folder / WEIGHTS, supernet.weights)
            write_topologies(supernet, folder)
            try_report(folder)


def write_topologies(run: SupernetRun, folder: Path) -> None:
    """Derive each task's topology from its probabilities, and write, draw and print it."""
    panels = []
    print(f"{'task':<8}{'selected':>9}{'seen':>6}{'backbone MACs':>15}{'parameters':>12}   file")
    for name, probabilities in zip(run.model.tasks, run.algorithm.distribution.probabilities(), strict=True):
        topology = derive(run, probabilities)
        path = run.model.tasks[name].path
        side = crop_side(run.config.data)
        seen = topology.prune((path,))
        cost = network_cost(run.model.network.family, seen, (side, side))
        file = folder / f"topology_{name}.yaml"
        topology.save(file, _info(run, name, topology, seen, cost))
        panels.append(_panel(name, topology, path, probabilities, cost.macs))
        draw_topologies(file.with_suffix(".png"), panels[-1:])
        counts = f"{len(topology.blocks):>9}{len(seen.blocks):>6}"
        print(f"{name:<8}{counts}{cost.macs / 1e6:>13.1f} M{cost.params / 1e6:>10.2f} M   {file}")
    draw_topologies(folder / "topologies.png", panels)
    print("seen: blocks that reach the path of the search head; MACs and parameters are theirs and the trunk's")
    print(f"all of them side by side, with the probabilities: {folder / 'topologies.png'}")


def derive(run: SupernetRun, probabilities: Tensor) -> Topology:
    """Return the most likely topology of one task's probabilities [B, 2], under the budget if there is one.

    It has all outputs, whichever path the search head read: which ones a final network needs, its heads decide.
    """
    budget, space = run.config.search.budget_macs, run.space
    choices = most_likely(probabilities) if budget is None else most_likely_within(probabilities, space, budget)
    return space.decode(choices)


def _info(run: SupernetRun, task: str, topology: Topology, seen: Topology, cost: Cost) -> dict[str, object]:
    """What a topology file says of where it comes from."""
    config = run.config
    return {
        "task": task,
        "searched_with": {
            "family": config.model.family,
            "input": config.data.crop,
            "seed": config.seed,
            "run": config.name,
        },
        "head_path": run.model.tasks[task].path,
        "selected_blocks": len(topology.blocks),
        "seen_blocks": len(seen.blocks),
        "backbone_macs": cost.macs,
        "backbone_params": cost.params,
    }


def _panel(task: str, topology: Topology, path: int, probabilities: Tensor, macs: int) -> Panel:
    """What is drawn of a topology: seen from the path that the search head read."""
    grid = probabilities[:, 1].reshape(topology.num_stages, -1).tolist()
    subtitle = f"{len(topology.prune((path,)).blocks)} blocks, {macs / 1e6:.1f} M MACs"
    seen = Topology(topology.num_stages, topology.blocks, outputs=(path,))
    return Panel(title=task, subtitle=subtitle, topology=seen, probabilities=grid)
