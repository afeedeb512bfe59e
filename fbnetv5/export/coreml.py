"""ExecuTorch on Apple's systems: a model as a .pte file that Core ML computes, on CPU, GPU or Neural Engine.

It is lowered anywhere, and runs on macOS and iOS alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fbnetv5.base.types import Size
from fbnetv5.export.executorch import described
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.quiet import silent

CORE_ML = "Core ML"


def to_coreml(model: nn.Module, size: Size, precision: str, channels: int = 3) -> Lowered:
    """Return a model as an ExecuTorch program whose parts Core ML computes.

    Args:
        model: from one image [1, 3, H, W] to named tensors.
        size: (height, width) of the image.
        precision: fp32, or fp16, which the Neural Engine wants.
        channels: of the image; of a part of a network, those of the feature that it takes.

    Raises:
        InputError: executorch or coremltools is not installed.
    """
    with needs_extra("Core ML"), silent():
        return _lowered(model, size, precision, channels)


def _lowered(model: nn.Module, size: Size, precision: str, channels: int) -> Lowered:
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    from executorch.exir import to_edge_transform_and_lower

    specs: Any = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=coremltools.target.iOS17,
        compute_precision={"fp32": coremltools.precision.FLOAT32, "fp16": coremltools.precision.FLOAT16}[precision],
    )
    program = torch.export.export(model, (torch.zeros(1, channels, *size),))
    edge = to_edge_transform_and_lower(program, partitioner=[CoreMLPartitioner(compile_specs=specs)])
    lowered = described(edge.exported_program().graph_module, CORE_ML)  # before the next line changes the graph
    lowered.data = bytes(edge.to_executorch().buffer)
    return lowered
