"""The one way from a device to the CPU in a training step's losses: a GPU is waited for here, and nowhere else."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def to_host(tensor: Tensor) -> np.ndarray:
    """Return the numbers of a tensor, once all that it depends on has been computed."""
    numbers: np.ndarray = tensor.detach().cpu().numpy()
    return numbers
