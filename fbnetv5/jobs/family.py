"""The families that a search ends with: for each task topologies of many costs, scored with the supernet's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.topology import NAMED_BLOCKS, Topology, named_topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.data.augmentation import crop_side
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.report.task_family import DERIVED, FAMILY, FOLDER, Member, TaskFamily, to_document
from fbnetv5.search.family import best_by_budget
from fbnetv5.search.last_look import LastLook

FULL = "full"
_SAME = {"unet": "unet, fpn"}  # are one topology


def find_families(
    run: SupernetRun, look: LastLook, score: Callable[[Tensor], Tensor], count: int
) -> tuple[TaskFamily, ...]:
    """Return a family for each task: the best topologies under ``count`` budgets, and others beside them.

    Args:
        run: the finished search.
        look: its last look.
        score: of choices int64 [M, B]: float64 [T, M], lower is better; on images that the last look's fit has not
            seen. It is called once, by all processes.
        count: of budgets.
    """
    space, tasks = run.space, list(run.model.tasks)
    bare = (0,) * len(space.num_options)  # the trunk alone
    named = {name: space.encode(topology) for name, topology in _hand_made(space.num_stages).items()}
    best = [best_by_budget(space, finding.worth, count) for finding in look.findings]
    derived = [finding.choices for finding in look.findings]
    every = list(dict.fromkeys([bare, *named.values(), *derived, *(one for own in best for one in own)]))
    scores = dict(zip(every, score(torch.tensor(every)).unbind(dim=1), strict=True))

    latency_on = None if run.latency is None else run.latency.described
    families = []
    for number, (task, finding) in enumerate(zip(tasks, look.findings, strict=True)):
        scale, base = finding.worth.deviation() or 1.0, float(scores[bare][number])
        found = {
            choices: _member(run, task, choices, float(scores[choices][number]), base, scale)
            for choices in (*best[number], finding.choices, *named.values())
        }
        members = sorted(
            {found[choices].seen: found[choices] for choices in reversed(best[number])}.values(), key=_macs
        )
        members = [_with_file(member, task, place) for place, member in enumerate(members, start=1)]
        others = [replace(found[choices], name=name) for name, choices in ((DERIVED, finding.choices), *named.items())]
        families.append(TaskFamily(task, run.config.search.cost, members, others, latency_on))
    return tuple(families)


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


def _macs(member: Member) -> int:
    return member.macs


def _with_file(member: Member, task: str, place: int) -> Member:
    """Name a member after its place and its MACs."""
    name = f"{place:02d}_{member.macs / 1e6:.1f}M"
    return replace(member, name=name, file=f"{FOLDER}{task}/{name}.yaml")
