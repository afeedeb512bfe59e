"""The meaning of ``runtime.precision``."""

from __future__ import annotations

import contextlib

import torch

# of the weights; bfloat16 is autocast over float32 weights
WEIGHT_DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context that a forward pass runs in."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
