"""One way to each format and precision."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.export.executorch import quantised_pt2e, to_executorch
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.onnx import finished_onnx, to_onnx
from fbnetv5.export.onnx_int8 import quantised_onnx
from fbnetv5.export.torchscript import to_torchscript

SUFFIXES = {"executorch": ".pte", "onnx": ".onnx", "torchscript": ".pt"}
PRECISIONS = ("fp32", "int8")


PACKAGES = {  # what a precision of a format imports
    ("executorch", "fp32"): ("executorch.exir",),
    ("executorch", "int8"): ("executorch.exir", "torchao.quantization"),
    ("onnx", "fp32"): ("onnx", "onnxscript", "onnxruntime"),
    ("onnx", "int8"): ("onnx", "onnxscript", "onnxruntime.quantization"),
    ("torchscript", "fp32"): (),
}


def check_support(runtime: str, precision: str) -> None:
    """Raise InputError if a runtime has no such precision, or if a package for it is not installed."""
    if (runtime, precision) not in PACKAGES:
        raise InputError("TorchScript files are written in fp32 alone; int8 is for executorch and onnx")
    with needs_extra(f"{precision} for {runtime}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in PACKAGES[runtime, precision]:
            importlib.import_module(package)


def convert(
    model: nn.Module,
    runtime: str,
    size: Size,
    calibration: Sequence[Tensor] | None,
    float_parts: Sequence[str],
    channels: int = 3,
) -> Lowered:
    """Return a model in the format of a runtime.

    Args:
        model: for one image, or a part of one for a feature.
        runtime: a key of ``SUFFIXES``.
        size: (height, width) of the image.
        calibration: images [1, channels, H, W] that int8 is calibrated with; None is float32.
        float_parts: modules that stay in float32.
        channels: of the image.

    Raises:
        InputError: the runtime's packages are not installed.
    """
    if runtime == "executorch":
        form = model if calibration is None else quantised_pt2e(model, calibration, float_parts)
        return to_executorch(form, size, channels)
    if runtime == "onnx":
        proto = to_onnx(model, size, output_names(model, size, channels), channels)
        return finished_onnx(proto if calibration is None else quantised_onnx(proto, calibration, float_parts))
    return to_torchscript(model, size)


def output_names(model: nn.Module, size: Size, channels: int = 3) -> list[str]:
    """Return the names of a model's outputs in their order."""
    with torch.no_grad():
        return list(model(torch.zeros(1, channels, *size)))
