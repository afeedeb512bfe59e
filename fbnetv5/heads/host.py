"""The one way from a device to the CPU in a training step's losses: a GPU is waited for here, and nowhere else."""

from __future__ import annotations

from torch import Tensor


def to_host(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU, without its graph, once all that it depends on has been computed."""
    return tensor.detach().cpu()
