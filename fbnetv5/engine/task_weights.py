"""How the losses of several tasks become one: by fixed weights, and by an uncertainty of each that is learnt."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class TaskWeights(nn.Module):
    """Weights of tasks' losses.

    Where uncertainty is learnt, task t counts w_t (exp(-s_t) l_t + s_t), with s_t = log sigma_t^2 from 0 on (Kendall,
    Gal and Cipolla, 2018, 1705.07115). It is the paper's form for regression (eq. 7) without its factor of 1/2, for
    every loss: those of detection and segmentation are sums of both kinds. It is least at sigma_t^2 = l_t, where a
    task's gradient is that of log l_t.

    Args:
        weights: w_t, by task.
        learnt: whether uncertainty is.
    """

    def __init__(self, weights: Mapping[str, float], *, learnt: bool) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.log_variances = nn.Parameter(torch.zeros(len(weights))) if learnt else None

    def forward(self, task: str, loss: Tensor) -> Tensor:
        """Return what a task's loss, a scalar, adds to the loss of the model."""
        if self.log_variances is not None:
            log_variance = self.log_variances[list(self.weights).index(task)]
            loss = torch.exp(-log_variance) * loss + log_variance
        return self.weights[task] * loss

    def sigmas(self) -> dict[str, float]:
        """Return sigma_t, by task; empty where uncertainty is not learnt."""
        if self.log_variances is None:
            return {}
        return dict(zip(self.weights, torch.exp(self.log_variances.detach() / 2).tolist(), strict=True))
