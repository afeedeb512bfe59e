"""Comparing architectures on the same images: baselines within a group, and antithetic pairs.

The N architectures of an iteration come in groups that see the same images, so that a loss differs within a group by
the architecture alone. Two ways to draw them, each with an estimate of the gradient that no baseline biases:

- independent draws, each compared with the unweighted mean of the others in its group (leave-one-out; Kool et al.,
  2019);
- antithetic pairs, made of the same uniform numbers u and 1 - u, compared with each other (DisARM; Dong et al., 2020).
  At probabilities of one half a pair selects every block exactly once, which is FairNAS's strict fairness. A baseline
  is not for pairs: it would hold the mirror of the very draw that it is subtracted from.

Shapes: T tasks, N architectures of an iteration in groups of g, P = N / 2 pairs, B slots, O options.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.search.distribution import ArchitectureDistribution


def mean_of_others(values: Tensor, group: int) -> Tensor:
    """Return for each value [..., N] the unweighted mean of the others in its group of ``group`` neighbours, [..., N].

    Raises:
        ValueError: a group of one, which has no others.
    """
    if group < 2:
        raise ValueError("a group of one architecture has no others to compare it with")
    grouped = values.unflatten(-1, (-1, group))
    return ((grouped.sum(dim=-1, keepdim=True) - grouped) / (group - 1)).flatten(-2)


def draw_pairs(distribution: ArchitectureDistribution, num_pairs: int, seed: int, step: int) -> Tensor:
    """Draw antithetic pairs from the proxy q, int64 [2 P, B]: the members of a pair are neighbours.

    Both members of pair k come from one task's distribution, that of task (k + o) mod T with one o a step, drawn
    uniformly: over the steps every pair has the marginals of q, and within a step the tasks take turns.

    Args:
        distribution: with two options in every slot.
        num_pairs: P, over all processes.
        seed, step: a pair depends on (seed, step, k) and the logits alone.
    """
    num_tasks = distribution.num_tasks
    offset = int(torch.randint(num_tasks, (), generator=generator(seed, Purpose.ARCHITECTURES, step)))
    first_options = distribution.probabilities()[..., 0]  # [T, B]
    pairs = []
    for pair in range(num_pairs):
        rng = generator(seed, Purpose.ARCHITECTURES, step, pair)
        uniform = torch.rand(first_options.shape[1], generator=rng, dtype=torch.float64)
        border = first_options[(pair + offset) % num_tasks]
        pairs += [(uniform >= border).long(), (1 - uniform >= border).long()]
    return torch.stack(pairs)


def log_pair_probability(probabilities: Tensor, choices: Tensor) -> Tensor:
    """Return the log probability of antithetic pairs under each task's distribution, [T, P]; -inf if it has none.

    A slot of a pair differs with probability 2 min(p, 1 - p), either way round alike, and else holds the likelier
    option twice.

    Args:
        probabilities: [T, B, 2].
        choices: int64 [2 P, B], as :func:`draw_pairs` gives them.
    """
    selected = probabilities[:, None, :, 1]  # [T, 1, B]
    first, second = choices[0::2], choices[1::2]  # [P, B]
    differ = torch.minimum(selected, 1 - selected)
    same = torch.where(first == 1, 2 * selected - 1, 1 - 2 * selected).clamp(min=0)
    return torch.where(first == second, same, differ).log().sum(dim=-1)


def pair_weights(log_probability: Tensor, num_labelled: Tensor) -> Tensor:
    """Return the self-normalised weights of pairs, W [T, P]: their probability under p_t over its mean over tasks.

    Args:
        log_probability: of the pairs, [T, P].
        num_labelled: images of each pair that are labelled for each task, [T, P].

    Returns:
        rows that sum to one, or are zero for a task without a labelled image.
    """
    log_ratio = log_probability - log_probability.logsumexp(dim=0)
    weights = (log_ratio + num_labelled.to(log_ratio.dtype).log()).softmax(dim=1)
    return weights.nan_to_num(0.0)  # of a task that no pair says anything about


def disarm_gradient(weights: Tensor, advantages: Tensor, choices: Tensor, probabilities: Tensor) -> Tensor:
    """Gradient of the expected loss with respect to the logits, from antithetic pairs.

    g_tb = sum over pairs of W_t 1/2 (A_1 - A_2) (onehot(a_1b) - onehot(a_2b)) max(p_tb, 1 - p_tb). With exact weights
    its expectation is the derivative of E_{p_t}[A].

    Args:
        weights: [T, P].
        advantages: of all members, [T, 2 P]; a constant added to both members of a pair changes nothing.
        choices: int64 [2 P, B].
        probabilities: [T, B, 2].

    Returns:
        [T, B, 2]; sums to zero over the options of a slot.
    """
    halves = 0.5 * (advantages[:, 0::2] - advantages[:, 1::2])  # [T, P]
    scale = weights * halves.masked_fill(weights == 0, 0.0)
    difference = F.one_hot(choices[0::2], 2) - F.one_hot(choices[1::2], 2)  # [P, B, 2]
    return torch.einsum("tp,pbo->tbo", scale, difference.to(scale.dtype)) * probabilities.amax(dim=-1, keepdim=True)
