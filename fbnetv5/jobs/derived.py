"""Files of what a search derives: topologies with their pictures, families, one network for all tasks."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fbnetv5.archs.cost import Cost, network_cost
from fbnetv5.archs.topology import Topology
from fbnetv5.base.files import remove_folder, reported
from fbnetv5.base.run_files import topology_file
from fbnetv5.data.augmentation import crop_side
from fbnetv5.jobs.family import write_families
from fbnetv5.jobs.joint_topologies import write_joint
from fbnetv5.jobs.last_look import Looked, read_verdicts, write_last_look
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.report.draw import Panel, draw_topologies
from fbnetv5.report.joint_file import JOINT
from fbnetv5.report.task_family import FAMILY, FOLDER
from fbnetv5.report.task_look import LAST_LOOK
from fbnetv5.search.derive import most_likely, most_likely_within
from fbnetv5.search.last_look import LastLook

FOUND = (  # what another look at a search may not replace; topologies of its tasks it always does
    *(LAST_LOOK, JOINT),
    *(f"{FOLDER}*/[0-9]*_*{unit}" for unit in ("M.yaml", "ms.yaml")),
    f"{FOLDER}*/{FAMILY}",
)


def clear_found(folder: Path) -> None:
    """Remove what an earlier look at the same supernet has found and another may leave, and nothing else there."""
    for file in [file for pattern in FOUND for file in folder.glob(pattern) if not file.is_dir()]:
        with reported(file):
            file.unlink()
    for family in folder.glob(f"{FOLDER}*"):
        if family.is_dir() and not any(family.iterdir()):
            remove_folder(family)


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
        file = folder / topology_file(name)
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
    budget, space = run.budget, run.space
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
