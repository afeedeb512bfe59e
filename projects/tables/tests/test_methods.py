"""Search methods on a space whose every architecture is known."""

from __future__ import annotations

import numpy as np
import pytest

from fbnetv5.projects.tables import methods
from fbnetv5.projects.tables.landscape import Choices, Evaluations, Landscape, every_choice

OPTIONS = (3, 2, 3, 2, 2)


def landscape(num_tasks: int = 3) -> Landscape:
    """Two slots of five do not add up."""
    rng = np.random.default_rng(2)
    every = every_choice(OPTIONS)
    worth = rng.standard_normal((num_tasks, len(OPTIONS), 3))
    values = worth[:, range(len(OPTIONS)), every].sum(axis=2) + 0.5 * (every[:, 0] * every[:, 1] == 2)
    return Landscape(OPTIONS, ("",) * 5, tuple(f"task {t}" for t in range(num_tasks)), values)


class Recorded(Evaluations):
    """Evaluations that remember what was asked, in order."""

    def __init__(self, landscape: Landscape, noise: float, seed: tuple[int, ...]) -> None:
        super().__init__(landscape, noise, seed)
        self.asked: list[Choices] = []

    def __call__(self, choices: Choices, repeats: int = 1) -> np.ndarray:
        self.asked.append(choices)
        return super().__call__(choices, repeats)


def test_random_search_returns_the_best_of_what_it_saw() -> None:
    evaluate = Recorded(landscape(), 0.0, (0,))
    found = methods.random_search(evaluate, [5, 60], seed=4)
    (drawn,) = evaluate.asked
    for place, count in enumerate((5, 60)):
        best = evaluate.landscape.at(drawn[:count]).max(axis=1)
        np.testing.assert_array_equal(np.diagonal(evaluate.landscape.at(found[place])), best)


def test_random_search_has_the_regret_of_the_enumeration() -> None:
    """The best of n of A architectures has rank r with probability ((A - r + 1) / A)^n - ((A - r) / A)^n."""
    known = landscape(1)
    count, size, seeds = 6, known.values.shape[1], 3000
    beyond = (np.arange(size, -1, -1) / size) ** count
    expected = ((beyond[:-1] - beyond[1:]) * (known.values.max() - np.sort(known.values[0])[::-1])).sum()
    regrets = [
        known.regret(methods.random_search(Evaluations(known, 0.0, (seed,)), [count], seed)[0])[0]
        for seed in range(seeds)
    ]
    assert np.mean(regrets) == pytest.approx(expected, abs=4 * np.std(regrets) / seeds**0.5)


def test_children_of_evolution_differ_from_a_living_parent_in_one_slot() -> None:
    evaluate = Recorded(landscape(), 0.5, (0,))
    methods.evolution(evaluate, [120], seed=0)
    first, *rounds = evaluate.asked
    seen = first
    for children in rounds:
        differing = (children[:, None] != seen[None, -methods.POPULATION :]).sum(axis=2)
        assert (differing == 1).any(axis=1).all()
        seen = np.concatenate([seen, children])
    assert (seen < OPTIONS).all()
    assert len(seen) >= 120


def test_evolution_without_noise_finds_the_best_of_a_small_space() -> None:
    known = landscape()
    found = methods.evolution(Evaluations(known, 0.0, (0,)), [50, 600], seed=0)
    np.testing.assert_allclose(known.regret(found[1]), 0, atol=1e-12)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_a_method_keeps_to_its_evaluations_and_is_the_same_twice(method: str) -> None:
    known = landscape()
    answers = []
    for _ in range(2):
        evaluate = Recorded(known, 1.0, (7,))
        answers.append(methods.METHODS[method](evaluate, [200], seed=3))
        assert evaluate.count <= 200 + methods.SAMPLES
    np.testing.assert_array_equal(*answers)
    assert answers[0].shape == (1, 3, len(OPTIONS))


@pytest.mark.parametrize("method", ["random", "ridge", "evolution", "probabilities"])
def test_an_answer_does_not_depend_on_later_ones(method: str) -> None:
    known = landscape()
    alone = methods.METHODS[method](Evaluations(known, 1.0, (7,)), [80], seed=3)
    among = methods.METHODS[method](Evaluations(known, 1.0, (7,)), [80, 200], seed=3)
    np.testing.assert_array_equal(alone[0], among[0])


def test_the_last_look_finds_under_noise_what_random_search_does_not() -> None:
    known = landscape()
    regrets = {
        name: np.mean(
            [known.regret(methods.METHODS[name](Evaluations(known, 1.0, (seed,)), [400], seed)[0]) for seed in range(8)]
        )
        for name in ("last-look", "random")
    }
    assert regrets["last-look"] < 0.5 * regrets["random"]
