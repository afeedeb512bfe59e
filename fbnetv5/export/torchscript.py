"""TorchScript: a model as a traced .pt file, for programs that still load those."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from fbnetv5.base.types import Size
from fbnetv5.export.lowered import Lowered


def to_torchscript(model: nn.Module, size: Size) -> Lowered:
    """Return a model as a TorchScript archive that returns its outputs as a tuple.

    Args:
        model: from one image [1, 3, H, W] to named tensors.
        size: (height, width) of the image.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_Outputs(model), torch.zeros(1, 3, *size), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced.eval()), buffer)
    return Lowered(buffer.getvalue())


class _Outputs(nn.Module):
    """Returns a tuple, as a trace cannot return a dictionary."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for an image [1, 3, H, W], in their order."""
        return tuple(self.model(image).values())
