"""The last look: many architectures are scored when the supernet is trained, and a regression says what to derive.

During a search an architecture is judged by one batch, with weights that still change. When they no longer do, a few
hundred architectures are scored on the same images, and each option's worth is fitted to their scores. The best
architectures by the fit are scored again, on other images, since it is the luckiest that come first.

Shapes: T tasks, M architectures, B slots, O options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.programme import least_of_sum
from fbnetv5.search.regression import MIN_SCORES, Worth, fit_worth
from fbnetv5.search.space import CostTerm, SearchSpace, cost_of, limit_of

NUM_MEAN = 1000  # architectures that means over all are estimated from
NUM_DRAWS = 8  # at most, for a distinct candidate
NUM_HALVINGS = 8  # of how many of their slots are drawn, where a budget allows few
Choices = tuple[int, ...]
Score = Callable[[Tensor, int], Tensor]
"""Of choices int64 [M, B] on the images of the first (0) or second (1) round: float64 [T, M], lower is better."""


@dataclass(frozen=True)
class Finding:
    """The last look's result for one task. Scores are in deviations over all architectures, lower is better.

    Attributes:
        worth: of the options.
        finalists: the architectures of the lowest predicted score and cost, the lowest first.
        values: of score and cost, by which one is chosen among them.
        choices: the architecture to derive.
        margins: how much better score and cost are with each slot's option than with its best other one, [B].
        errors: standard errors of the margins, [B].
        reach: the same of what a budget allows, see :func:`within_budget`, and their errors, [2, B].
        gain: how much better score and cost are than those of the mean architecture, see :func:`mean_total`. It and the
            margins are by prediction, or as seen where :func:`~fbnetv5.search.neighbours.look_around` has looked.
        agreement: correlation of the predicted scores of some candidates with those on the second round's images; near
            zero, what was fitted are the first round's images. 0 where none were scored again.
    """

    worth: Worth
    finalists: tuple[tuple[int, ...], ...]
    values: tuple[float, ...]
    choices: tuple[int, ...]
    margins: Tensor
    errors: Tensor
    reach: Tensor
    gain: float
    agreement: float

    @property
    def shortfall(self) -> float:
        """What other options in reach would gain, by expectation over the errors, one slot at a time."""
        margins, errors = self.reach[:, self.reach[0].isfinite()]
        ratio = margins / errors.clamp(min=1e-12)
        density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
        return float((errors * density - margins * torch.special.ndtr(-ratio)).sum())


@dataclass(frozen=True)
class LastLook:
    """All that was scored, and what it says.

    Attributes:
        candidates: int64 [M, B].
        scores: of the candidates on the images of the first round, float64 [T, M].
        findings: of each task.
    """

    candidates: Tensor
    scores: Tensor
    findings: tuple[Finding, ...]


def last_look(
    space: SearchSpace,
    distribution: ArchitectureDistribution,
    score: Score,
    *,
    num_candidates: int,
    num_finalists: int,
    seed: int,
    budget: float | None = None,
    cost_term: CostTerm | None = None,
    known: tuple[Tensor, Tensor] | None = None,
    num_checked: int = 32,
    distinct: bool = True,
) -> LastLook:
    """Score candidates, fit what options are worth, and score the best architectures by the fit again.

    Args:
        space: what was searched.
        distribution: that the search learnt.
        score: see :data:`Score`; called once a round, for all tasks.
        num_candidates: M, at least 3.
        num_finalists: of each task.
        seed: of the candidates.
        budget: that an architecture's cost keeps to, in the unit of the space's costs; None for no limit.
        cost_term: what cost adds to a score.
        known: further architectures int64 [K, B] to fit and their scores [T, K], where these compare with the first
            round's; those of a search are of other weights and images, but a published table's are not.
        num_checked: candidates that are scored in the second round as well.
        distinct: whether candidates are distinct, as copies would have the same scores; where each score has noise of
            its own, copies are worth as much as others.

    Raises:
        InputError: even the cheapest architecture is above the budget.
    """
    candidates = draw_candidates(distribution, num_candidates, seed, distinct=distinct)
    scores = score(candidates, 0)
    fitted, targets = candidates, scores
    if known is not None:
        fitted, targets = torch.cat([candidates, known[0]]), torch.cat([scores, known[1]], dim=1)
    worths = [fit_worth(fitted, clip_worst(of_task), space.num_options) for of_task in targets]
    finalists = [best_architectures(space, worth, num_finalists, budget, cost_term) for worth in worths]
    checked = candidates[:num_checked]
    again = score(torch.cat([torch.tensor([one for own in finalists for one in own]), checked]), 1)
    findings, start = [], 0
    for task, (worth, own) in enumerate(zip(worths, finalists, strict=True)):
        second = again[task, start : start + len(own)]
        start += len(own)
        values = _values(space, worth, torch.tensor(own), second, cost_term)
        agreement = _correlation(worth.predict(checked), again[task, again.shape[1] - len(checked) :])
        findings.append(_finding(space, worth, own, values, agreement, cost_term or CostTerm(), budget))
    return LastLook(candidates, scores, tuple(findings))


def draw_candidates(distribution: ArchitectureDistribution, count: int, seed: int, *, distinct: bool = False) -> Tensor:
    """Draw architectures, int64 [count, B]: in turn from a task's distribution and from one halfway to uniform.

    The first kind looks where good architectures are, the second at what the search has given up early. The tasks take
    turns. Where they are to be ``distinct``, others take the place of copies; there are fewer where :data:`NUM_DRAWS`
    times as many draws do not hold so many, and copies after all where these do not hold three.
    """
    tempered = ArchitectureDistribution(distribution.num_tasks, distribution.num_options)
    tempered.logits = distribution.logits / 2
    found: list[list[int]] = []
    for start in range(0, NUM_DRAWS * count if distinct else count, count):
        drawn = torch.empty(count, len(distribution.num_options), dtype=torch.int64)
        numbers = range(start, start + count)
        tasks = [number // 2 % distribution.num_tasks for number in numbers]
        for first, source in enumerate((distribution, tempered)):
            rngs = [generator(seed, Purpose.LAST_LOOK, number) for number in numbers[first::2]]
            drawn[first::2] = source.sample_tasks(tasks[first::2], rngs)
        found += drawn.tolist()
        others = list(dict.fromkeys(map(tuple, found)))
        if len(others) >= count:
            break
    kept = others if distinct and len(others) >= MIN_SCORES else found
    return torch.tensor(kept[:count])


def clip_worst(scores: Tensor) -> Tensor:
    """Lower the scores [M] that are worse than the median by more than twice what the best tenth is better by, to that.

    How bad a bad architecture is says nothing of which is best, but a few that fail would decide the fit. Of normal
    scores it clips one in 200.
    """
    middle, best = scores.quantile(0.5), scores.quantile(0.1)
    return scores.clamp(max=float(3 * middle - 2 * best))


def best_architectures(
    space: SearchSpace,
    worth: Worth,
    count: int = 1,
    budget: float | None = None,
    cost_term: CostTerm | None = None,
) -> list[tuple[int, ...]]:
    """Return the ``count`` best architectures by predicted score and cost, exactly, the best first.

    A score counts in deviations over all architectures, so that the cost term means what it means in a search.

    Raises:
        InputError: even the cheapest architecture is above the budget.
    """
    scale = worth.scale()
    return least_of_sum(
        space, worth.options / scale, worth.pairs / scale, count=count, budget=budget, cost_term=cost_term
    )


def _values(
    space: SearchSpace, worth: Worth, finalists: Tensor, second: Tensor, cost_term: CostTerm | None
) -> list[float]:
    """Return what chooses among finalists [K, B]: the mean of prediction and second score, and cost."""
    scale = worth.scale()
    predicted = worth.predict(finalists)
    seen = second - second.mean() + predicted.mean()  # other images: only differences are comparable
    values = ((predicted + seen) / 2 - worth.mean) / scale
    if cost_term is not None:
        values = values + cost_term.of(space, finalists)
    return [float(value) for value in values]


def _finding(
    space: SearchSpace,
    worth: Worth,
    finalists: Sequence[tuple[int, ...]],
    values: list[float],
    agreement: float,
    cost_term: CostTerm,
    budget: float | None,
) -> Finding:
    """Choose among the finalists, and say how sure it is."""
    scale = worth.scale()

    def total(choices: Tensor) -> Tensor:
        return (worth.predict(choices) - worth.mean) / scale + cost_term.of(space, choices)

    chosen = finalists[values.index(min(values))]
    own = total(torch.tensor([chosen]))[0]
    margins, errors = [math.inf] * len(chosen), [0.0] * len(chosen)  # as of a slot of one option
    best = [chosen] * len(chosen)  # other options
    for slot, count in enumerate(space.num_options):
        if count > 1:
            others = torch.tensor(differing(chosen, slot, count))
            lost = total(others) - own
            margins[slot] = float(lost.min())
            best[slot] = tuple(others[lost.argmin()].tolist())
            errors[slot] = float(worth.errors(torch.tensor([chosen]), others[lost.argmin()][None])[0]) / scale
    seen = torch.tensor([margins, errors], dtype=torch.float64)
    reach = within_budget(space, chosen, best, seen, budget)
    gain = mean_total(space, worth, cost_term, budget) - float(own)
    return Finding(worth, tuple(finalists), tuple(values), chosen, seen[0], seen[1], reach, gain, agreement)


def within_budget(
    space: SearchSpace, own: Choices, others: Sequence[Choices], seen: Tensor, budget: float | None
) -> Tensor:
    """Return the margins and errors [2, B] of the exchanges that a budget allows, infinite where it allows none.

    An exchange that costs too much alone is made with the one of another slot, the least bad that pays for it; margins
    add up then, as those of a sum over slots, and errors as independent ones.

    Args:
        space: costs the options.
        own: the architecture.
        others: with the best other option of each slot.
        seen: its margins and errors, [2, B].
        budget: None for no limit.
    """
    if budget is None:
        return seen
    costs = torch.tensor([cost_of(space, one) for one in others], dtype=torch.float64) - cost_of(space, own)
    left = limit_of(budget) - cost_of(space, own)
    both = seen[0][:, None] + seen[0]  # [B, B], of two exchanges
    both = both.masked_fill((costs[:, None] + costs > left) | torch.eye(len(costs), dtype=torch.bool), math.inf)
    margins, partners = both.min(dim=1)
    errors = (seen[1].square() + seen[1][partners].square()).sqrt()
    return torch.where(costs <= left, seen, torch.stack([margins, errors]))


def mean_total(space: SearchSpace, worth: Worth, cost_term: CostTerm, budget: float | None) -> float:
    """Return the mean of predicted score and cost of all architectures that keep to a budget, estimated from some.

    The score is less the mean of all, in deviations. Where hardly any keep to the budget, slots have their cheapest
    option more often.
    """
    rng, cheapest = generator(0, Purpose.LAST_LOOK), torch.tensor([row.index(min(row)) for row in space.option_costs])
    drawn = torch.stack([torch.randint(count, (NUM_MEAN,), generator=rng) for count in space.num_options], dim=1)
    if budget is None:
        return float(cost_term.of(space, drawn).mean())  # the mean predicted score is 0
    kept = cheapest[None]
    for halvings in range(NUM_HALVINGS):
        spared = torch.rand(drawn.shape, generator=rng) >= 0.5**halvings
        some = torch.where(spared, cheapest, drawn)
        inside = torch.tensor([cost_of(space, one) <= limit_of(budget) for one in some.tolist()])
        if inside.sum() >= NUM_MEAN / 10:
            kept = some[inside]
            break
    scores = (worth.predict(kept) - worth.mean) / worth.scale()
    return float((scores + cost_term.of(space, kept)).mean())


def _correlation(predicted: Tensor, scores: Tensor) -> float:
    """Return the correlation of predictions with scores, bad outliers of which are capped; 0 where there is none."""
    if len(scores) < 2:
        return 0.0
    return float(torch.corrcoef(torch.stack([predicted, clip_worst(scores)]))[0, 1].nan_to_num())


def differing(choices: tuple[int, ...], slot: int, count: int) -> list[tuple[int, ...]]:
    """Return the architectures that differ in one slot."""
    return [(*choices[:slot], option, *choices[slot + 1 :]) for option in range(count) if option != choices[slot]]
