"""Search methods behind one protocol: FPNAS's coordinate descent (algorithm 1), and random search to compare with.

A method says what is trained and learns from how accurate it got; a :class:`Trainer` trains. What a method draws
depends on the run's seed and on accuracies alone, so that a resumed run asks for the same trainings and finds many of
them done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.projects.fpnas.bound import BoundedSpace, Choices
from fbnetv5.projects.fpnas.jobs import Independent, Job, Result, Shared


@dataclass(frozen=True)
class Budget:
    """The amount of training; by default as in Section 3.3.

    Attributes:
        iterations: T, blocks that are optimised, one after the other.
        shared_epochs: P, of all types of a block with shared weights.
        epochs: Q, of each candidate on its own.
        num_candidates: E.
    """

    iterations: int = 16
    shared_epochs: int = 4
    epochs: int = 4
    num_candidates: int = 10

    @property
    def total_epochs(self) -> int:
        """T (P + Q E), passes over the training images."""
        return self.iterations * (self.shared_epochs + self.epochs * self.num_candidates)


@dataclass(frozen=True)
class Found:
    """A network, its validation accuracy in [0, 1], and the file of its weights; empty where it is not trained yet."""

    choices: Choices
    accuracy: float = 0.0
    weights: str = ""


class Trainer(Protocol):
    """The side of a search that a method asks for trainings."""

    def train(self, jobs: Sequence[Job]) -> list[Result]:
        """Return what came out of jobs, in their order."""

    def decide(self, iteration: int, position: int | None, choices: Choices, accuracy: float) -> None:
        """Take note of the network that an iteration ends with; of the block at ``position``, if one was optimised."""

    def forget(self, weights: Iterable[str]) -> None:
        """Delete files of weights that no job will start from."""


class Method(Protocol):
    """A search method, built as ``Method(space, budget, seed=seed, **options)``."""

    def search(self, trainer: Trainer) -> Found:
        """Have networks below the bound trained, for ``budget.total_epochs`` epochs in all; return the one found."""


class CoordinateDescent:
    """FPNAS: one block at a time is optimised while the others stay as they are (Section 3.2, algorithm 1).

    An iteration trains all types of a block that keep the network below the bound, with shared weights, and ranks them;
    then the E best on their own, from the weights that they had, and keeps the best one with its weights. The T
    iterations go through the blocks from the first to the last, and again from the first.

    Where fewer than E types are below the bound or valid, they are trained several times, from other seeds, and judged
    by the mean: an iteration takes P + Q E epochs in any case.

    Raises:
        InputError: E is more than the types.
    """

    def __init__(self, space: BoundedSpace, budget: Budget, *, seed: int) -> None:
        most = max(space.num_types)
        if budget.num_candidates > most:
            raise InputError(
                f"project.num_candidates={budget.num_candidates} is more than the {most} types that a block can have; "
                f"lower it to at most {most}"
            )
        self.space, self.budget, self.seed = space, budget, seed

    def search(self, trainer: Trainer) -> Found:
        """Optimise T blocks; see :class:`Method`."""
        found = Found(self.space.draw(generator(self.seed, Purpose.ARCHITECTURES)))
        for iteration in range(self.budget.iterations):
            found = self._optimise(trainer, found, iteration % len(found.choices), iteration)
        return found

    def _optimise(self, trainer: Trainer, found: Found, position: int, iteration: int) -> Found:
        """Optimise one block; the network that is returned differs from ``found`` in it alone."""
        folder = f"iteration-{iteration + 1:03d}"
        shared = Shared(
            name=f"{folder}/shared",
            iteration=iteration,
            choices=found.choices,
            position=position,
            types=tuple(self.space.types_within(found.choices, position)),
            epochs=self.budget.shared_epochs,
            key=(iteration, 0),
            start=found.weights,
        )
        (together,) = trainer.train([shared])
        ranking = sorted(range(len(shared.types)), key=lambda index: -together.accuracies[index])
        candidates = [
            Independent(
                name=f"{folder}/candidate-{number + 1:02d}",
                iteration=iteration,
                choices=shared.networks[ranking[number % len(ranking)]],
                position=position,
                epochs=self.budget.epochs,
                key=(iteration, 1 + number),
                start=together.weights,
            )
            for number in range(self.budget.num_candidates)
        ]
        results = trainer.train(candidates)
        best = best_of(candidates, results)
        trainer.decide(iteration, position, best.choices, best.accuracy)
        spent = [found.weights, together.weights, *(result.weights for result in results)]
        trainer.forget(file for file in spent if file != best.weights)
        return best


class RandomSearch:
    """Networks drawn uniformly below the bound, each trained from scratch; the best of them is found.

    Args:
        epochs: that each is trained for.

    Raises:
        InputError: they do not divide the epochs of the budget.
    """

    def __init__(self, space: BoundedSpace, budget: Budget, *, seed: int, epochs: int = 4) -> None:
        self.space, self.seed, self.epochs = space, seed, epochs
        self.num_networks = num_networks(budget, epochs)

    def search(self, trainer: Trainer) -> Found:
        """Train all networks, as one iteration; see :class:`Method`."""
        drawn = [
            self.space.draw(generator(self.seed, Purpose.ARCHITECTURES, number)) for number in range(self.num_networks)
        ]
        jobs = [from_scratch(0, number, choices, self.epochs) for number, choices in enumerate(drawn)]
        results = trainer.train(jobs)
        best = best_of(jobs, results)
        trainer.decide(0, None, best.choices, best.accuracy)
        trainer.forget(result.weights for result in results if result.weights != best.weights)
        return best


def from_scratch(iteration: int, number: int, choices: Choices, epochs: int) -> Independent:
    """Return the job that trains the network ``number`` of a search from scratch."""
    return Independent(
        name=f"network-{number + 1:04d}", iteration=iteration, choices=choices, epochs=epochs, key=(number,)
    )


def best_of(jobs: Sequence[Independent], results: Sequence[Result]) -> Found:
    """Return the network of the highest accuracy, the mean over its trainings; the first of them has its weights."""
    accuracies: dict[Choices, list[float]] = {}
    weights: dict[Choices, str] = {}
    for job, result in zip(jobs, results, strict=True):
        accuracies.setdefault(job.choices, []).append(result.accuracies[0])
        weights.setdefault(job.choices, result.weights)
    means = {choices: sum(values) / len(values) for choices, values in accuracies.items()}
    best = max(means, key=lambda choices: means[choices])
    return Found(best, means[best], weights[best])


def num_networks(budget: Budget, epochs: int) -> int:
    """Return how many networks the budget trains from scratch, ``epochs`` each.

    Raises:
        InputError: some epochs would be left over.
    """
    total = budget.total_epochs
    if epochs < 1 or total % epochs:
        divisors = [count for count in range(1, min(total, 100) + 1) if total % count == 0]
        raise InputError(
            f"project.method.epochs={epochs} does not divide the {total} epochs that a search takes; "
            f"choose from {', '.join(map(str, divisors))}"
        )
    return total // epochs
