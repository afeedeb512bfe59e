"""The last look of a search: held-out images, scores of many architectures on them, and what is derived.

``search/last_look.py`` has the method; this gives it the finished supernet to ask.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.base.types import Source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.log import clock
from fbnetv5.jobs.exchange import mark_of
from fbnetv5.jobs.family import find_families
from fbnetv5.jobs.judge import Judge, num_whole, plain_batches
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.report.task_family import TaskFamily
from fbnetv5.report.task_look import LAST_LOOK, read_looks
from fbnetv5.search.last_look import Finding, LastLook, clip_worst, last_look
from fbnetv5.search.neighbours import look_around
from fbnetv5.search.seen import Seen

LARGEST_SHARE = 0.25  # of a task's labelled images that may be held out
ROUNDS = ("architecture", "finalist")  # what is scored on the first half of the images, and on the second
EVERY = 10.0  # seconds between two lines that tell how far it is


def held_out_rows(source: Source, targets: Sequence[str], num_images: int, seed: int) -> list[int]:
    """Choose the images that weights do not learn from and the last look scores on, ascending positions.

    Task by task, that with the fewest labels first, and in an order that depends on the seed alone, images are taken
    that are labelled for it, until there are ``num_images``; but for no task more than a quarter of its own. There are
    as many as two halves in whole batches hold: what is left over goes back to the weights, images of the tasks with
    the most labels first.
    """
    labelled = sorted((set(source.labelled(name)) for name in dict.fromkeys(targets)), key=len)
    most = [math.floor(LARGEST_SHARE * len(rows)) for rows in labelled]
    order = torch.randperm(len(source), generator=generator(seed, Purpose.LAST_LOOK)).tolist()
    counts, chosen = [0] * len(labelled), dict[int, None]()
    for task, rows in enumerate(labelled):
        for row in (row for row in order if row in rows and row not in chosen):
            if counts[task] >= min(num_images, most[task]):
                break
            its = [place for place, others in enumerate(labelled) if row in others]
            if all(counts[place] < most[place] for place in its):
                chosen[row] = None
                for place in its:
                    counts[place] += 1
    count = 2 * num_whole(len(chosen) // 2)
    return sorted(list(chosen)[:count])


def halves_of(held_out: Source, targets: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions of the images of the first and of the second round, ascending, as many of each.

    Those that are labelled for the task with the fewest labels are dealt first, in turn, then those for the next one.
    """
    labelled = sorted((set(held_out.labelled(name)) for name in dict.fromkeys(targets)), key=len)
    rarest = [
        next((rank for rank, own in enumerate(labelled) if row in own), len(labelled)) for row in range(len(held_out))
    ]
    dealt = sorted(range(len(held_out)), key=rarest.__getitem__)
    return sorted(dealt[0::2]), sorted(dealt[1::2])


@dataclass(frozen=True)
class Looked:
    """What a last look found: what blocks are worth and what to derive, and the families, if any were asked for."""

    look: LastLook
    families: tuple[TaskFamily, ...]


def take_last_look(run: SupernetRun) -> Looked | None:
    """Score architectures on the run's held-out images and find the best of them; None where none are to be scored.

    The processes share the architectures. Half of the images are for the candidates, half for the finalists and the
    families.
    """
    options = run.config.search.last_look
    if run.held_out is None:
        return None
    targets = [task.target for task in run.model.tasks.values()]
    rows, halves = halves_of(run.held_out, [target.name for target in targets]), []
    for part in rows:
        images, normalisation = Subset(run.held_out, part), run.model.normalisation
        batches = plain_batches(run.config, images, targets, run.world, normalisation=normalisation)
        try:
            halves.append(Judge(run.model, batches, run.config))
        except InputError as error:  # as where crops show none of the few labels that there are
            if run.world.is_main:
                print(f"no last look, topologies are the likeliest: {error}; search.last_look.images keeps more images")
            return None
    if run.world.is_main:
        if run.config.model.weights is not None or run.config.search.extend is not None:
            print("last look: the weights of the start may have seen its images, unless their run kept the same ones")
        print(
            f"last look: {options.candidates} architectures on {len(rows[0])} held-out images, then "
            f"{options.finalists} a task on {len(rows[1])} others"
        )

    def score(choices: Tensor, which: int, wants: Tensor | None = None) -> Tensor:
        what = ROUNDS[which] if wants is None else "topology"
        return _shared_scores(run, halves[which], choices, wants, what)

    look = last_look(
        run.space,
        run.algorithm.distribution,
        score,
        num_candidates=options.candidates,
        num_finalists=options.finalists,
        seed=run.config.seed,
        budget=run.budget,
        cost_term=run.algorithm.cost_term,
    )
    seen = Seen(score, len(run.model.tasks))
    if options.neighbours:
        if run.world.is_main:
            print("last look: what differs from the best in one block, on all of these images", flush=True)
        look = look_around(run.space, look, seen, budget=run.budget, cost_term=run.algorithm.cost_term)
    if options.family and run.world.is_main:
        print(f"last look: the best under {options.family} budgets, on all of these images", flush=True)
    families = find_families(run, look, seen, options.family) if options.family else ()
    return Looked(look, families)


def _shared_scores(run: SupernetRun, judge: Judge, choices: Tensor, wants: Tensor | None, what: str) -> Tensor:
    """Return the scores of choices [M, B], float64 [T, M]; each process computes a part of them, and says of what.

    Only what tasks want, by bool [T, M] or all if None, is computed; the others are NaN.
    """
    world, total = run.world, len(choices)
    world.require_equal(
        world.gather(torch.tensor([mark_of(choices)]).double()).tolist(), "the architectures of the last look"
    )
    share = math.ceil(total / world.size)
    own = choices[world.rank * share : (world.rank + 1) * share]
    scores = torch.full((len(run.model.tasks), share), torch.nan, dtype=torch.float64)
    started = told = time.perf_counter()
    topologies = [run.space.decode(one.tolist()) for one in own]
    wanted = None if wants is None else wants.T[world.rank * share : (world.rank + 1) * share].tolist()
    for number, found in enumerate(judge.scores(topologies, wanted)):
        scores[:, number] = found
        now = time.perf_counter()
        if world.is_main and now - told > EVERY:
            told = now
            left = (now - started) / (number + 1) * (share - number - 1)
            print(f"last look: {what} {number + 1}/{share}  ETA {clock(left)}", flush=True)
    return world.gather(scores)[:, :total]


def write_last_look(look: LastLook, run: SupernetRun, folder: Path) -> None:
    """Write what was scored and what it says, as JSON.

    ``worth`` is what selecting a block gains beside skipping it, cost included, where all others are as derived. It and
    its ``error``, ``gain``, ``shortfall`` and ``values`` are in deviations of the score over all architectures, of
    which one is ``deviation``; ``scores`` are as the heads give them.
    """
    tasks = {
        name: _described(finding, scores)
        for name, finding, scores in zip(run.model.tasks, look.findings, look.scores, strict=True)
    }
    candidates = ["".join(map(str, one)) for one in look.candidates.tolist()]
    document = {"candidates": candidates, "tasks": tasks}
    write_text(folder / LAST_LOOK, json.dumps(document) + "\n")


def read_verdicts(folder: Path) -> list[str]:
    """Return a line for each task that says how sure its topology is, from what :func:`write_last_look` has written."""
    return [
        f"last look, {task}: {look.verdict}; {look.num_decided} blocks decided, {look.num_free} free; it gains "
        f"{look.gain:.2f} deviations over the mean topology, {look.shortfall:.2f} may be missing; other images agree: "
        f"{look.agreement:.2f}"
        for task, look in read_looks(read_json(folder / LAST_LOOK)).items()
    ]


def _described(finding: Finding, scores: Tensor) -> dict[str, Any]:
    variance = float(clip_worst(scores).var(correction=0))  # of what was fitted
    signs = 2 * torch.tensor(finding.choices) - 1  # a margin is for what was chosen, a worth for selecting the block
    return {
        "derived": "".join(map(str, finding.choices)),
        "worth": (finding.margins * signs).tolist(),
        "error": finding.errors.tolist(),
        "gain": finding.gain,
        "shortfall": finding.shortfall,
        "agreement": finding.agreement,
        "left_out_r2": 1 - finding.worth.left_out_error**2 / variance if variance else 0.0,
        "deviation": finding.worth.deviation(),
        "finalists": ["".join(map(str, one)) for one in finding.finalists],
        "values": list(finding.values),
        "scores": scores.tolist(),
    }
