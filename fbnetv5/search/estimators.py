"""Estimates from N sampled architectures: expected losses, their gradients, and the scale of a loss.

Shapes: T tasks, N architectures of an iteration, B slots, O options. All pure functions on float64 CPU tensors, but for
:class:`LossHistory`, which remembers the last iterations.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def importance_weights(log_ratio: Tensor, num_labelled: Tensor) -> Tensor:
    """Self-normalised importance weights over samples that hold different numbers of labelled images.

    w_ti = n_ti r_ti / sum_j n_tj r_tj (FBNetV5, eq. 11, with the label counts n). sum_i w_ti l_ti estimates the
    expectation of task t's loss under p_t, whichever distribution drew the samples; it is consistent, its bias is of
    order 1/N.

    Args:
        log_ratio: log(p_t(a_i) / q(a_i)), [T, N].
        num_labelled: images of sample i that are labelled for task t, [T, N].

    Returns:
        [T, N]; rows sum to one, or are zero for a task that no image of the iteration is labelled for.
    """
    weights = (log_ratio + num_labelled.to(log_ratio.dtype).log()).softmax(dim=1)
    return weights.masked_fill(num_labelled.sum(dim=1, keepdim=True) == 0, 0.0)


def effective_sample_sizes(weights: Tensor) -> Tensor:
    """Return how many equally weighted samples say as much as those of weights [T, N], [T]; 0 without any (Kish)."""
    return (weights.sum(dim=1).square() / weights.square().sum(dim=1)).nan_to_num()


def weighted_mean(weights: Tensor, values: Tensor) -> Tensor:
    """Return sum_i w_ti v_ti, [T]. Values [T, N] are ignored, NaN included, where the weight is zero."""
    return (weights * values.masked_fill(weights == 0, 0.0)).sum(dim=1)


def reinforce_gradient(weights: Tensor, advantages: Tensor, choices: Tensor, probabilities: Tensor) -> Tensor:
    """Score-function gradient of the expected loss with respect to the logits.

    g_tb = sum_i w_ti A_ti (onehot(a_ib) - softmax(theta_tb)). With A the loss and w exact, it is the derivative of
    E_{p_t}[loss]; FBNetV5's eq. 9 with the score of softmax logits (eq. 10 has the wrong sign for skipped blocks) and
    with the importance weight that line 11 of algorithm 4 leaves out.

    Args:
        weights: [T, N], zero where a sample says nothing about a task.
        advantages: [T, N].
        choices: int64 [N, B].
        probabilities: [T, B, O].

    Returns:
        [T, B, O]; sums to zero over the options of a slot.
    """
    scale = weights * advantages.masked_fill(weights == 0, 0.0)  # [T, N]
    chosen = F.one_hot(choices, probabilities.shape[-1]).to(scale.dtype)  # [N, B, O]
    return torch.einsum("tn,nbo->tbo", scale, chosen) - scale.sum(dim=1)[:, None, None] * probabilities


def through_softmax(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """Take a gradient from a softmax to its logits: p (v - sum_o p_o v_o); both [..., O], and so is the result."""
    return probabilities * (gradient - (probabilities * gradient).sum(dim=-1, keepdim=True))


def variance_within_groups(values: Tensor, group: int) -> Tensor:
    """Return the mean over groups of the variance (over g - 1) of values [T, N], [T]; NaN counts nowhere."""
    return values.unflatten(-1, (-1, group)).var(dim=-1).nanmean(dim=-1)


class LossHistory:
    """Losses and costs of all samples of the last ``window`` iterations (FBNetV5, Appendix E: 200)."""

    def __init__(self, num_tasks: int, window: int = 200) -> None:
        self.num_tasks = num_tasks
        self._losses: deque[Tensor] = deque(maxlen=window)  # [T, N] each, NaN where unlabelled
        self._costs: deque[Tensor] = deque(maxlen=window)  # [N] each
        self._variances: deque[Tensor] = deque(maxlen=window)  # [T] each, within groups of
        self._group = 1
        self._unmeasured = 0  # iterations, the last ones, whose variances are still to come
        self._joined: Tensor | None = None  # the losses of all iterations, [T, all N]; None where they have changed

    def add(self, losses: Tensor, labelled: Tensor, costs: Tensor | None = None) -> None:
        """Remember an iteration: losses [T, N] where labelled (bool [T, N]); costs [N], for :meth:`mean_cost`."""
        self._losses.append(losses.masked_fill(~labelled, torch.nan))
        self._joined = None
        self._unmeasured = min(self._unmeasured + 1, len(self._losses))
        if costs is not None:
            self._costs.append(costs)

    def num_samples(self) -> Tensor:
        """Return how many labelled samples there are of each task, int64 [T]."""
        return (~self._all().isnan()).sum(dim=1)

    def mean(self) -> Tensor:
        """Return the mean loss of each task, [T]; NaN without a labelled sample."""
        return self._all().nanmean(dim=1)

    def deviation(self) -> Tensor:
        """Return the standard deviation of each task's loss (n - 1 in the denominator), [T]; NaN below two samples."""
        rows = [row[~row.isnan()] for row in self._all()]
        return torch.stack([row.std() if len(row) > 1 else row.new_tensor(torch.nan) for row in rows])

    def deviation_within(self, group: int) -> Tensor:
        """Return the root of the mean variance within groups of ``group`` neighbours, [T]; NaN without any."""
        if group != self._group:
            self._group, self._unmeasured = group, len(self._losses)
            self._variances.clear()
        for one in itertools.islice(self._losses, len(self._losses) - self._unmeasured, None):
            self._variances.append(variance_within_groups(one, group))
        self._unmeasured = 0
        return torch.stack(tuple(self._variances)).nanmean(dim=0).sqrt()

    def scale(self, group: int | None = None) -> Tensor:
        """Return what normalises each task's loss, [T]; 0 for losses that never differ.

        It is one over the deviation of all losses or, with ``group``, over that within groups.
        """
        deviation = self.deviation() if group is None else self.deviation_within(group)
        return torch.where(deviation > 0, 1 / deviation, 0.0)

    def mean_cost(self) -> Tensor:
        """Return the mean cost term of all samples, a scalar."""
        return torch.cat(tuple(self._costs)).mean()

    def _all(self) -> Tensor:
        if self._joined is None:
            self._joined = torch.cat(tuple(self._losses), dim=1)
        return self._joined

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` restores exactly."""
        return {"losses": list(self._losses), "costs": list(self._costs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""
        self._losses.clear()
        self._losses.extend(state["losses"])
        self._variances.clear()
        self._unmeasured, self._joined = len(self._losses), None
        self._costs.clear()
        self._costs.extend(state["costs"])
