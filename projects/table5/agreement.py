"""How well a supernet ranks the topologies of the table of truth: Kendall's tau of its word with what they reach."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from scipy.stats import kendalltau

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.topology import TopologySpace
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5.found import worth_of
from fbnetv5.projects.table5.plan import Plan

PREDICTORS = ("score", "regression")
Scores = Mapping[str, Sequence[float]]  # of the trainings of each topology, by its name


class Guess(NamedTuple):
    """What a supernet says of a topology, lower is better: its score of it, and its last look's regression."""

    score: float
    regression: float | None


def guesses(plan: Plan, seed: int, task: str) -> dict[str, Guess]:
    """Return what the multitask search of a seed says of the topologies that the table draws for a task, by name.

    Those that it has not scored are left out; the regression is None where the search took no last look.
    """
    predicted = read_json(plan.prediction_file(seed, task)).get("scores", {})
    drawn = [one for one in plan.truth.drawn[task] if one.name in predicted]
    num_stages = plan.truth.config.num_stages
    space = TopologySpace(num_stages, [0.0] * num_stages * NUM_PATHS)
    by_regression: list[float | None] = [None] * len(drawn)
    try:
        worth = worth_of(plan.search_job(seed, None).folder, task)
        choices = torch.tensor([space.encode(one.topology) for one in drawn])
        by_regression = worth.predict(choices).tolist()
    except InputError:
        pass
    return {one.name: Guess(predicted[one.name], worth) for one, worth in zip(drawn, by_regression, strict=True)}


def rank_row(plan: Plan, task: str, said: Mapping[str, Guess], scores: Scores) -> dict[str, Any]:
    """Return the tau of each predictor with the trained scores: of all topologies, the first ones, and the others.

    Choices may be made by the first ones. Null below three topologies, or where all are alike. Beside each stands how
    many topologies it is over.
    """
    first, drawn = plan.truth.config.num_first, plan.truth.drawn[task]
    row: dict[str, Any] = {}
    for part, networks in {"all": drawn, "first": drawn[:first], "others": drawn[first:]}.items():
        for predictor in PREDICTORS:
            guessed = {one.name: getattr(said[one.name], predictor) for one in networks if one.name in said}
            names = [name for name, guess in guessed.items() if guess is not None and name in scores]
            truth = [statistics.mean(scores[name]) for name in names]
            row[f"{predictor}_{part}"] = tau([-guessed[name] for name in names], truth)
            row[f"{predictor}_{part}_number"] = len(names)
    return row


def taus_between(judges: Iterable[Mapping[str, float]]) -> list[float]:
    """Return the tau of each two judges, over the topologies that both have scored.

    Two trainings are such judges, and what they agree by is what one of them can be foretold by another.

    Args:
        judges: scores by topology, of each judge.
    """
    found = []
    for one, other in itertools.combinations(judges, 2):
        names = [name for name in one if name in other]
        found.append(tau([one[name] for name in names], [other[name] for name in names]))
    return [value for value in found if value is not None]


def tau(predicted: Sequence[float], truth: Sequence[float]) -> float | None:
    """Return Kendall's tau; None below three values, or where all are alike."""
    if len(truth) < 3 or len(set(predicted)) < 2 or len(set(truth)) < 2:
        return None
    return float(kendalltau(predicted, truth).statistic)
