"""Losses and gradients that are no numbers any more end a run; gradients that are too long are clipped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError

DIVERGED = (
    "Nothing was written since the last checkpoint. Lower optimizer.lr, warm up longer or set optimizer.clip_norm; "
    "where a resumed run ends like this at once, delete its latest checkpoint too"
)


def require_finite(losses: Mapping[str, float], step: int) -> None:
    """Raise InputError, with name and step, for a loss that is not finite."""
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise InputError(f"{name} is {loss} at step {step}. {DIVERGED}")


def require_finite_losses(losses: Tensor, num_labelled: Tensor, names: Sequence[str], step: int) -> None:
    """Raise InputError, with task and step, for a loss [T, N] that is not finite where images are labelled."""
    bad = ((num_labelled > 0) & ~losses.isfinite()).nonzero()
    if len(bad):
        task, sample = bad[0].tolist()
        value = losses[task, sample].item()
        raise InputError(f"the loss of task '{names[task]}' is {value} at step {step} (sample {sample}). {DIVERGED}")


def clip_gradient(model: nn.Module, clip_norm: float | None, step: int) -> None:
    """Clip the norm of the gradient, where asked for. Raises InputError if it is not finite."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip_norm is None else clip_norm)
    if not norm.isfinite():
        raise InputError(f"the gradient of the weights is {norm.item()} at step {step}. {DIVERGED}")
