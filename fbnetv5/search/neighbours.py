"""The end of a last look: all architectures that differ in one slot from what it would derive are scored beside it.

The regression fits all architectures alike, and of what is special about the best it knows little. So what it says is
the best is scored on the images of both rounds, and so are its neighbours; where one of them is better by more than the
standard error it takes the place, a few times at most; one whose score is the same, as the head does not see what
differs, does so where it is cheaper. Margins are then what was seen, with errors from how far the two rounds' images
differ; that the best was chosen on the same images makes them a little too good.

Shapes: T tasks, B slots, K neighbours of an architecture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fbnetv5.search.last_look import (
    Choices,
    Finding,
    LastLook,
    differing,
    mean_total,
    within_budget,
)
from fbnetv5.search.seen import Seen
from fbnetv5.search.space import CostTerm, SearchSpace, cost_of, limit_of

MOVES = 3
SAME = 1e-6  # deviations: the head does not see what differs, as on a path that it does not read
OUTLYING = 6.0  # times the middle distance of two rounds, 4 deviations of normal ones


def look_around(
    space: SearchSpace,
    look: LastLook,
    seen: Seen,
    *,
    budget: float | None = None,
    cost_term: CostTerm | None = None,
    num_moves: int = MOVES,
) -> LastLook:
    """Return a last look whose findings are no worse than their neighbours, as far as the images of both rounds tell.

    Args:
        space: what was searched.
        look: what the regression found.
        seen: is asked for what is near the architecture to derive for each task, at most ``num_moves`` + 1 times.
        budget: that an architecture's cost keeps to, in the unit of the space's costs; None for no limit.
        cost_term: what cost adds to a score.
        num_moves: how often an architecture is exchanged for a neighbour at most.
    """
    cost_term, findings = cost_term or CostTerm(), list(look.findings)
    for move in range(num_moves + 1):
        near = [(one.choices, *neighbours(space, one.choices)) for one in findings]
        seen.ask(near)
        better = []
        for task, finding in enumerate(findings):
            findings[task], other = _beside(space, finding, seen.of(task), budget, cost_term)
            better.append(other)
        if move == num_moves or not any(better):
            break
        findings = [replace(one, choices=other or one.choices) for one, other in zip(findings, better, strict=True)]
    return replace(look, findings=tuple(findings))


def neighbours(space: SearchSpace, choices: Choices) -> list[Choices]:
    """Return the architectures that differ in one slot, slot by slot."""
    return [other for slot, count in enumerate(space.num_options) for other in differing(choices, slot, count)]


def _beside(
    space: SearchSpace, finding: Finding, scores: Mapping[Choices, Tensor], budget: float | None, cost_term: CostTerm
) -> tuple[Finding, Choices | None]:
    """Return a finding with margins and gain as seen, and the best neighbour if it is better by more than the error.

    Args:
        scores: of its architecture and all neighbours on the images of both rounds, [2].
    """
    own, scale = finding.choices, finding.worth.scale()
    near = neighbours(space, own)
    if not near:
        return finding, None
    lost = torch.stack([scores[one] - scores[own] for one in near]) / scale  # [K, 2]
    terms = cost_term.of(space, torch.tensor([own, *near]))
    totals = dict(zip(near, (lost.mean(dim=1) + terms[1:] - terms[0]).tolist(), strict=True))
    differs = lost.abs().amax(dim=1) > SAME
    error = _error(lost[differs])
    others = [
        min((one for one in near if one[slot] != option), key=totals.__getitem__, default=own)
        for slot, option in enumerate(own)
    ]
    margins = [totals.get(other, math.inf) for other in others]  # infinite as of a slot of one option
    unseen = {one for one, told in zip(near, differs.tolist(), strict=True) if not told}
    errors = [0.0 if other in unseen else error for other in others]  # what it costs is known
    found = torch.tensor([margins, errors], dtype=torch.float64)
    reach = within_budget(space, own, others, found, budget)
    mean = mean_total(space, finding.worth, cost_term, budget)
    gain = (finding.worth.mean - float(scores[own][0])) / scale + mean - float(terms[0])
    seen = replace(finding, margins=found[0], errors=found[1], reach=reach, gain=gain)
    better = [one for one in near if totals[one] < -(SAME if one in unseen else error)]
    allowed = [one for one in better if budget is None or cost_of(space, one) <= limit_of(budget)]
    return seen, min(allowed, key=totals.__getitem__, default=None)


def _error(lost: Tensor) -> float:
    """Return the standard error of means of two rounds [K, 2], from how far the rounds lie apart; 0 without any."""
    if not len(lost):
        return 0.0
    apart = (lost[:, 0] - lost[:, 1]).abs()
    apart = apart.clamp(max=OUTLYING * float(apart.median()))  # that one of them fails is no error of the others
    return float(apart.square().mean().sqrt()) / 2
