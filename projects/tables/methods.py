"""Search methods, each as a function of noisy evaluations.

A method is given the numbers of evaluations after which it must answer, and returns for each what it would derive for
each task. One evaluation scores an architecture for all tasks.

Shapes: E numbers of evaluations, T tasks, B slots, M architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fbnetv5.projects.tables.landscape import Choices, Evaluations, Landscape
from fbnetv5.search.algorithms import MultitaskReinforce
from fbnetv5.search.derive import most_likely
from fbnetv5.search.last_look import best_architectures, last_look
from fbnetv5.search.regression import PENALTIES, fit_worth

SAMPLES, RATE = 8, 0.2  # of algorithm 4: architectures an iteration, and the logits' rate
SEARCH_SHARE, AGAIN_SHARE, FINALISTS = 0.25, 0.25, 10  # of all evaluations; of the look's; of each task
POPULATION, TOURNAMENT = 50, 10  # of evolution
Method = Callable[[Evaluations, Sequence[int], int], Choices]


def random_search(evaluate: Evaluations, budgets: Sequence[int], seed: int) -> Choices:
    """Return the best that was seen of uniform draws, [E, T, B]."""
    drawn = _uniform(evaluate.landscape, max(budgets), seed)
    scores = evaluate(drawn)
    return np.stack([drawn[scores[:, :budget].argmin(axis=1)] for budget in budgets])


def additive_ridge(evaluate: Evaluations, budgets: Sequence[int], seed: int) -> Choices:
    """Return the best by a ridge regression on slots, without pairs, of uniform draws, [E, T, B]."""
    landscape = evaluate.landscape
    drawn = _uniform(landscape, max(budgets), seed)
    scores = evaluate(drawn)
    found = np.empty((len(budgets), len(scores), drawn.shape[1]), np.int64)
    for place, budget in enumerate(budgets):
        for task, own in enumerate(torch.from_numpy(scores)):
            fitted = fit_worth(
                torch.from_numpy(drawn[:budget]), own[:budget], landscape.num_options, (PENALTIES[0], (np.inf,))
            )
            found[place, task] = best_architectures(landscape, fitted)[0]
    return found


def evolution(evaluate: Evaluations, budgets: Sequence[int], seed: int) -> Choices:
    """Return the best that was seen by regularised evolution (Real et al., 2019), [E, T, B].

    The best of a tournament gets a child that differs in one slot, and the oldest dies. Tasks share the population and
    take turns as what a tournament is about; :data:`SAMPLES` children are evaluated at a time.
    """
    rng = np.random.default_rng([seed, 1])
    options = np.array(evaluate.landscape.num_options)
    seen = _uniform(evaluate.landscape, POPULATION, seed)
    scores = evaluate(seen)
    turn = 0
    while len(seen) < max(budgets):
        children = []
        for _ in range(SAMPLES):
            alive = len(seen) - POPULATION + rng.choice(POPULATION, TOURNAMENT, replace=False)
            child = seen[alive[scores[turn % len(scores), alive].argmin()]].copy()
            slot = rng.integers(len(options))
            child[slot] = (child[slot] + rng.integers(1, options[slot])) % options[slot]
            children.append(child)
            turn += 1
        seen = np.concatenate([seen, children])
        scores = np.concatenate([scores, evaluate(np.array(children))], axis=1)
    return np.stack([seen[scores[:, :budget].argmin(axis=1)] for budget in budgets])


def probabilities_alone(evaluate: Evaluations, budgets: Sequence[int], seed: int) -> Choices:
    """Return the likeliest architectures after algorithm 4 has had all evaluations, as in the paper, [E, T, B]."""
    algorithm = _algorithm(evaluate.landscape, seed)
    found, step = [], 0
    for budget in sorted(budgets):
        steps = range(step, budget // SAMPLES)
        _search(algorithm, evaluate, steps)
        step = steps.stop
        found.append([most_likely(one) for one in algorithm.distribution.probabilities()])
    return np.array(found)[[sorted(budgets).index(budget) for budget in budgets]]


def with_last_look(evaluate: Evaluations, budgets: Sequence[int], seed: int) -> Choices:
    """Return what the last look finds after algorithm 4, [E, T, B]; each number of evaluations is a run of its own.

    The look fits the scores of the search too: on a table, unlike on a supernet, they are of the same networks.
    """
    return np.stack([_look(evaluate, budget, seed) for budget in budgets])


def search_a_task(evaluate: Evaluations, budgets: Sequence[int], seed: int) -> Choices:
    """Return what :func:`with_last_look` finds for each task alone, with its part of the evaluations, [E, T, B]."""
    num_tasks = len(evaluate.landscape.tasks)
    parts = [budget // num_tasks for budget in budgets]
    return np.concatenate(
        [with_last_look(evaluate.only(task), parts, seed) for task in range(num_tasks)],
        axis=1,
    )


METHODS: dict[str, Method] = {
    "last-look": with_last_look,
    "probabilities": probabilities_alone,
    "a-task": search_a_task,
    "ridge": additive_ridge,
    "evolution": evolution,
    "random": random_search,
}


def _look(evaluate: Evaluations, budget: int, seed: int) -> Choices:
    landscape = evaluate.landscape
    algorithm = _algorithm(landscape, seed)
    known = _search(algorithm, evaluate, range(int(SEARCH_SHARE * budget) // SAMPLES))
    left = budget - known[0].shape[0]
    num_finalists = FINALISTS * len(landscape.tasks)
    repeats = max(1, int(AGAIN_SHARE * left) // num_finalists)

    def score(choices: Tensor, again: int) -> Tensor:
        return torch.from_numpy(evaluate(choices.numpy(), repeats if again else 1))

    look = last_look(
        landscape,
        algorithm.distribution,
        score,
        num_candidates=left - repeats * num_finalists,
        num_finalists=FINALISTS,
        seed=seed,
        known=known,
        num_checked=0,
        distinct=False,
    )
    return np.array([finding.choices for finding in look.findings])


def _algorithm(landscape: Landscape, seed: int) -> MultitaskReinforce:
    return MultitaskReinforce(
        landscape,
        num_tasks=len(landscape.tasks),
        num_samples=SAMPLES,
        group=SAMPLES,
        seed=seed,
        baseline="others",
        cost_weight=0.0,
    )


def _search(algorithm: MultitaskReinforce, evaluate: Evaluations, steps: range) -> tuple[Tensor, Tensor]:
    """Run steps of a search; return the architectures [M, B] and their scores [T, M]."""
    num_tasks, num_slots = len(evaluate.landscape.tasks), len(evaluate.landscape.num_options)
    labelled = torch.ones(num_tasks, SAMPLES, dtype=torch.int64)
    choices, scores = [torch.empty(0, num_slots, dtype=torch.int64)], [torch.empty(num_tasks, 0, dtype=torch.float64)]
    for step in steps:
        draw = algorithm.draw(step)
        choices.append(draw.choices)
        scores.append(torch.from_numpy(evaluate(draw.choices.numpy())))
        algorithm.update(draw, scores[-1], labelled, RATE)
    return torch.cat(choices), torch.cat(scores, dim=1)


def _uniform(landscape: Landscape, count: int, seed: int) -> Choices:
    rng = np.random.default_rng(seed)
    return (rng.random((count, len(landscape.num_options))) * landscape.num_options).astype(np.int64)
