"""A known landscape: what each task's loss is, and where its optimum lies, can be written down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.search.algorithms import MultitaskReinforce, SearchAlgorithm
from fbnetv5.search.derive import most_likely


@dataclass(frozen=True)
class BinarySpace:
    """B slots of skip (free) or select (costs ``costs[b]``)."""

    costs: tuple[float, ...]

    @property
    def num_options(self) -> tuple[int, ...]:
        return (2,) * len(self.costs)

    @property
    def option_costs(self) -> tuple[tuple[float, ...], ...]:
        return tuple((0.0, cost) for cost in self.costs)

    @property
    def slot_names(self) -> tuple[str, ...]:
        return tuple(f"slot {b}" for b in range(len(self.costs)))

    def decode(self, choices: Sequence[int]) -> tuple[int, ...]:
        return tuple(choices)


@dataclass(frozen=True)
class Landscape:
    """A task's loss is the sum of its coefficients over the blocks that differ from its optimum, plus noise."""

    optima: Tensor  # int64 [T, B]
    coefficients: Tensor  # [T, B]
    noise: float

    @classmethod
    def random(cls, seed: int, num_tasks: int = 3, num_slots: int = 16, noise: float = 0.5) -> Landscape:
        rng = torch.Generator().manual_seed(seed)
        optima = torch.randint(2, (num_tasks, num_slots), generator=rng)
        coefficients = 0.1 + 0.4 * torch.rand(num_tasks, num_slots, generator=rng, dtype=torch.float64)
        return cls(optima, coefficients, noise)

    def losses(self, choices: Tensor, rng: torch.Generator) -> Tensor:
        """Noisy losses [T, N] of choices [N, B]."""
        differs = (choices[None] != self.optima[:, None]).to(torch.float64)  # [T, N, B]
        clean = torch.einsum("tnb,tb->tn", differs, self.coefficients)
        return clean + self.noise * torch.randn(clean.shape, generator=rng, dtype=torch.float64)

    def relaxed_losses(self, gates: Tensor, rng: torch.Generator) -> Tensor:
        """Losses [T, N] of gates [T, N, B, 2] that equal those of choices without noise; here every slope has noise."""
        differs = (gates * F.one_hot(1 - self.optima, 2)[:, None]).sum(dim=-1)  # [T, N, B]
        noise = torch.randn(differs.shape, generator=rng, dtype=torch.float64)
        return (differs * (self.coefficients[:, None] + self.noise * noise)).sum(dim=-1)


def search(
    landscape: Landscape, seed: int, *, method=MultitaskReinforce, iterations: int = 300, lr: float = 0.15, **settings
) -> SearchAlgorithm:
    """Run a search method on the landscape with a cosine rate; ``settings`` are its options."""
    num_tasks, num_slots = landscape.optima.shape
    space = BinarySpace((1.0,) * num_slots)
    settings = {"num_samples": 16, **settings}
    algorithm = method(space, num_tasks=num_tasks, seed=seed, **settings)
    rng = torch.Generator().manual_seed(seed + 1000)
    labelled = torch.ones(num_tasks, settings["num_samples"])
    for step in range(iterations):
        draw = algorithm.draw(step)
        rate = lr * 0.5 * (1 + math.cos(math.pi * step / iterations))
        gates = draw.gates
        losses = landscape.losses(draw.choices, rng) if gates is None else landscape.relaxed_losses(gates, rng)
        algorithm.update(draw, losses, labelled, rate)
    return algorithm


def tasks_at_optimum(landscape: Landscape, algorithm: SearchAlgorithm) -> int:
    """Count the tasks whose most likely architecture is the optimum."""
    probabilities = algorithm.distribution.probabilities()
    return sum(most_likely(p) == tuple(o.tolist()) for p, o in zip(probabilities, landscape.optima, strict=True))


def num_at_optimum(seeds: Sequence[int] = range(20), num_tasks: int = 3, **settings) -> int:
    """Count the tasks that end in their optimum, over ``num_tasks`` tasks a seed and no cost term."""
    landscapes = {seed: Landscape.random(seed, num_tasks) for seed in seeds}
    return sum(
        tasks_at_optimum(one, search(one, seed, cost_weight=0.0, **settings)) for seed, one in landscapes.items()
    )


if __name__ == "__main__":
    for baseline in ("weighted", "history"):
        print(f"baseline {baseline}: {num_at_optimum(baseline=baseline)} of 60 tasks end in their optimum")
