"""The families that a search ends with: for each task topologies of many costs, scored with the supernet's weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.topology import NAMED_BLOCKS, Topology, TopologySpace, named_topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.data.augmentation import crop_side
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.report.task_family import DERIVED, FAMILY, FOLDER, Member, TaskFamily, to_document
from fbnetv5.search.family import best_by_cost, budgets_of, shortlist
from fbnetv5.search.last_look import Choices, LastLook
from fbnetv5.search.seen import Seen

FULL = "full"
_SAME = {"unet": "unet, fpn"}  # are one topology


def find_families(run: SupernetRun, look: LastLook, seen: Seen, count: int) -> tuple[TaskFamily, ...]:
    """Return a family for each task: the topologies that score best under ``count`` budgets, and others beside them.

    Under each budget that is the best of all whose scores are known: those that the regression says are best there, all
    that have been scored as neighbours of the derived one, and hand-made ones. All processes call it.

    Args:
        run: the finished search.
        look: its last look.
        seen: scores on the images of both rounds.
        count: of budgets.
    """
    space, paths = run.space, [task.path for task in run.model.tasks.values()]
    bare = (0,) * len(space.num_options)  # the trunk alone
    hand_made = {name: space.encode(topology) for name, topology in _hand_made(space.num_stages).items()}
    named = [{DERIVED: finding.choices, **hand_made} for finding in look.findings]
    budgets = [budgets_of(space, finding.worth, finding.choices, count) for finding in look.findings]
    seen.ask(
        [
            [_as_seen(space, one, path) for one in (bare, *own.values(), *shortlist(space, finding.worth, given))]
            for path, own, given, finding in zip(paths, named, budgets, look.findings, strict=True)
        ]
    )

    families = []
    for number, task in enumerate(run.model.tasks):
        scale = look.findings[number].worth.scale()
        scores = {_as_seen(space, one, paths[number]): float(both.mean()) for one, both in seen.of(number).items()}
        chosen = best_by_cost(space, scores, budgets[number])
        members = [_member(run, task, one, scores[one], scores[bare], scale) for one in chosen]
        members = [_with_file(one, task, place) for place, one in enumerate(members, start=1)]
        others = []
        for name, choices in named[number].items():
            score = scores[_as_seen(space, choices, paths[number])]
            others.append(replace(_member(run, task, choices, score, scores[bare], scale), name=name))
        latency_on = None if run.latency is None else run.latency.described
        families.append(TaskFamily(task, run.config.search.cost, members, others, latency_on))
    return tuple(families)


def _as_seen(space: TopologySpace, choices: Choices, path: int) -> Choices:
    """Leave out the blocks that a head on ``path`` does not see."""
    return space.encode(space.decode(choices).prune((path,)))


def write_families(run: SupernetRun, families: Sequence[TaskFamily], folder: Path) -> None:
    """Write a folder for each task: a file for each topology, and family.json with what is known of all of them."""
    for family in families:
        for member in family.members:
            assert member.file is not None
            info = {
                "task": family.task,
                "run": run.config.name,
                "head_path": run.model.tasks[family.task].path,
                "backbone_macs": member.macs,
                "backbone_params": member.params,
                **_latency(member, family),
                "gain": round(member.gain, 4),
            }
            Topology(member.topology.num_stages, member.topology.blocks).save(folder / member.file, info)
        write_text(folder / f"{FOLDER}{family.task}" / FAMILY, json.dumps(to_document(family)) + "\n")


def _latency(member: Member, family: TaskFamily) -> dict[str, object]:
    """Return what a topology's file says of its milliseconds, where it has any."""
    if member.latency_ms is None:
        return {}
    return {"backbone_latency_ms": round(member.latency_ms, 4), "latency_on": family.latency_on}


def _hand_made(num_stages: int) -> dict[str, Topology]:
    """Return the topologies that people draw, as far as there are stages for them, and all blocks."""
    found: dict[str, Topology] = {}
    for name in NAMED_BLOCKS:
        try:
            topology = named_topology(name, num_stages)
        except InputError:
            continue
        if topology.blocks and topology not in found.values():
            found[name] = topology
    return {**{_SAME.get(name, name): one for name, one in found.items()}, FULL: Topology.full(num_stages)}


def _member(run: SupernetRun, task: str, choices: tuple[int, ...], score: float, base: float, scale: float) -> Member:
    """Price a topology; it gains what it scores better than ``base``, in units of ``scale``."""
    chosen, path = run.space.decode(choices), run.model.tasks[task].path
    seen, side = chosen.prune((path,)), crop_side(run.config.data)
    cost = network_cost(run.model.network.family, seen, (side, side))
    latency_ms = None if run.latency is None else run.latency.network_ms(seen)
    drawn = Topology(chosen.num_stages, chosen.blocks, (path,))
    return Member("", drawn, cost.macs, cost.params, latency_ms, score, (base - score) / scale)


def _with_file(member: Member, task: str, place: int) -> Member:
    """Name a member after its place and its milliseconds, or its MACs where it has none."""
    cost = f"{member.macs / 1e6:.1f}M" if member.latency_ms is None else f"{member.latency_ms:.2f}ms"
    name = f"{place:02d}_{cost}"
    return replace(member, name=name, file=f"{FOLDER}{task}/{name}.yaml")
