"""Numbers that the processes of a search exchange, an iteration.

Losses, scores and gradients of gates go together, with a mark of the architectures that were drawn, which must be the
same everywhere. How many images of each sample are labelled for classes or boxes, every process knows by itself: the
images of an iteration follow from seed and step, and the source says which are labelled. A crop may leave nothing known
of a mask, so that label counts are gathered first where there are any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.types import Batch, Source, Target, TargetKind
from fbnetv5.engine.divergence import require_finite_losses
from fbnetv5.search.algorithms import Draw

CROPPED_AWAY = frozenset({TargetKind.MASK, TargetKind.DENSE, TargetKind.KEYPOINTS})
"""Of these a crop may leave nothing that is known, and the image counts as unlabelled."""


class Outcome(NamedTuple):
    """The result of a sample, or of all N in a last dimension.

    Attributes:
        losses: [T], NaN where nothing is labelled.
        scores: [T], what the architecture is compared by.
        gate_gradients: of the scores for their gates, [T, B, O], if there are gates.
    """

    losses: Tensor
    scores: Tensor
    gate_gradients: Tensor | None = None


@dataclass(frozen=True)
class Iteration:
    """The work of an iteration, known before any loss is.

    Attributes:
        step: its number.
        draw: the architectures of all ranks' samples.
        samples: this rank's micro-batches by the number of their sample among all N.
        num_labelled: images of each sample that are labelled for each task, int64 [T, N].
        weights: how much each task's loss counts on each sample, [T, N].
    """

    step: int
    draw: Draw
    samples: Mapping[int, Batch]
    num_labelled: Tensor
    weights: Tensor


def labelled_images(source: Source, targets: Sequence[Target]) -> Tensor:
    """Return which images of a source are labelled for each of T targets, bool [T, images]."""
    labelled = torch.zeros(len(targets), len(source), dtype=torch.bool)
    for row, target in zip(labelled, targets, strict=True):
        row[torch.from_numpy(np.asarray(source.labelled(target.name), np.int64))] = True
    return labelled


def count_labels(labelled: Tensor, images: Tensor, num_samples: int, group: int) -> Tensor:
    """Count the images of each sample that are labelled for each task.

    Args:
        labelled: which images are, bool [T, all images].
        images: of an iteration, in their order, int64 [distinct images].
        num_samples: N, contiguous parts of them.
        group: neighbours among the N that see the same part.

    Returns:
        int64 [T, N].
    """
    return labelled[:, images].unflatten(1, (num_samples // group, -1)).sum(dim=2).repeat_interleave(group, dim=1)


def gather_outcomes(world: World, tasks: Sequence[str], iteration: Iteration, outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome of all ranks' samples, float64 on the CPU, from those of this rank's.

    Raises:
        InputError: a loss or a score is not finite although images are labelled for it.
        RuntimeError: the ranks have drawn different architectures.
    """
    num_tasks, draw = len(tasks), iteration.draw
    rows = [torch.stack([outcome.losses for outcome in outcomes], dim=-1)]  # [T, n] each
    rows.append(torch.stack([outcome.scores for outcome in outcomes], dim=-1))
    if draw.gates is not None:
        own = [outcome.gate_gradients.flatten() for outcome in outcomes if outcome.gate_gradients is not None]
        rows.append(torch.stack(own, dim=-1))  # [T * B * O, n]
    values = torch.cat(rows).to(world.exchange).double()
    marks = values.new_full((1, len(outcomes)), mark_of(draw.choices))
    every = world.gather(torch.cat([marks, values]))  # [1 + rows, N]
    world.require_equal(every[0, :: len(outcomes)].tolist(), "the architectures drawn")
    losses, scores, gradients = every[1:].split([num_tasks, num_tasks, len(every) - 1 - 2 * num_tasks])
    for gathered in (losses, scores):
        require_finite_losses(gathered, iteration.num_labelled, list(tasks), iteration.step)
    if draw.gates is None:
        return Outcome(losses, scores)
    return Outcome(losses, scores, gradients.unflatten(0, (num_tasks, *draw.gates.shape[-2:])))


def mark_of(choices: Tensor) -> float:
    """Return 52 bits of the SHA-256 of choices, which float64 holds; how many there are counts."""
    digest = hashlib.sha256(choices.contiguous().numpy().tobytes()).digest()
    return float(int.from_bytes(digest[:8], "big") >> 12)
