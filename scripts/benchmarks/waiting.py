"""What is lost where ranks wait for the dearest architecture of an iteration, simulated from MACs.

A rank takes as long as its architectures cost, and all wait for the last. The time of an iteration beside that of an
even share is the expected maximum over ranks over the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.tables import aligned
from fbnetv5.archs.cost import block_macs, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.search.algorithms import draw_proxy
from fbnetv5.search.distribution import LOGIT_LIMIT, ArchitectureDistribution
from fbnetv5.search.groups import draw_pairs

NUM_STAGES, NUM_TASKS, SIDE = 7, 3, 224
PHASES = ("p = 1/2", "half decided", "decided")
KINDS = ("one each", "two each", "a pair each")


@dataclass(frozen=True)
class Waiting:
    """Time of an iteration over that of an even share, for a family, a phase of the run and a number of ranks.

    Attributes:
        ratios: by kind of what a rank draws: one architecture, two independent ones, a complementary pair.
    """

    family: str
    phase: str
    num_ranks: int
    ratios: dict[str, float]


def simulate_waiting(families: Sequence[str], ranks: Sequence[int], rounds: int, seed: int = 0) -> list[Waiting]:
    """Draw ``rounds`` iterations of each family, phase and number of ranks, and average their maxima over the means."""
    return [
        Waiting(name, phase, count, _ratios(name, phase, count, rounds, seed))
        for name in families
        for phase in PHASES
        for count in ranks
    ]


def distribution(phase: str, seed: int) -> ArchitectureDistribution:
    """Return the tasks' probabilities in a phase: a part of the blocks decided, at the logits' limit, at random."""
    found = ArchitectureDistribution(NUM_TASKS, (2,) * (4 * NUM_STAGES))
    rng = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, found.logits.shape[:2], generator=rng) * 2.0 - 1
    share = {"p = 1/2": 0.0, "half decided": 0.5, "decided": 1.0}[phase]
    decided = torch.rand(signs.shape, generator=rng) < share
    slopes = (signs * decided).double()[..., None] * LOGIT_LIMIT
    found.logits = torch.cat([-slopes, slopes], dim=-1)
    return found


def _ratios(name: str, phase: str, num_ranks: int, rounds: int, seed: int) -> dict[str, float]:
    totals = dict.fromkeys(KINDS, 0.0)
    for number in range(rounds):
        drawn = distribution(phase, seed + number % 10)  # what is decided differs from run to run
        single = architecture_macs(name, draw_proxy(drawn, 2 * num_ranks, seed, number))
        pairs = architecture_macs(name, draw_pairs(drawn, num_ranks, seed, number))
        shares = (single[:num_ranks], single.view(-1, 2).sum(dim=1), pairs.view(-1, 2).sum(dim=1))
        for kind, share in zip(KINDS, shares, strict=True):
            totals[kind] += float(share.max() / share.mean())
    return {kind: total / rounds for kind, total in totals.items()}


def architecture_macs(name: str, choices: Tensor) -> Tensor:
    """Return the MACs of architectures [N, B] at 224 pixels, trunk included, heads not; float64 [N]."""
    family, size = get_family(name), (SIDE, SIDE)
    trunk = network_cost(family, Topology(NUM_STAGES, frozenset(), outputs=(3,)), size).macs
    return choices.double() @ torch.tensor(block_macs(family, NUM_STAGES, size), dtype=torch.float64) + trunk


def waiting_text(found: Sequence[Waiting]) -> str:
    """Return the table."""
    rows = [
        (one.family, one.phase, str(one.num_ranks), *(f"{one.ratios[kind]:.2f}" for kind in KINDS)) for one in found
    ]
    return aligned(("family", "probabilities", "ranks", *KINDS), rows)
