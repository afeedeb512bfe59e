"""One way to each format and precision."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.export.coreml import to_coreml
from fbnetv5.export.executorch import quantised_pt2e, to_executorch
from fbnetv5.export.extras import EXPORT, LITERT, needs_extra
from fbnetv5.export.litert import finished_litert, to_litert
from fbnetv5.export.litert_int8 import quantised_litert
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.onnx import finished_onnx, to_onnx
from fbnetv5.export.onnx_int8 import quantised_onnx
from fbnetv5.export.torchscript import to_torchscript

SUFFIXES = {"executorch": ".pte", "onnx": ".onnx", "litert": ".tflite", "coreml": ".coreml.pte", "torchscript": ".pt"}
PRECISIONS = ("fp32", "fp16", "int8")


PACKAGES = {  # what a precision of a format imports
    ("executorch", "fp32"): ("executorch.exir",),
    ("executorch", "int8"): ("executorch.exir", "torchao.quantization"),
    ("onnx", "fp32"): ("onnx", "onnxscript", "onnxruntime"),
    ("onnx", "int8"): ("onnx", "onnxscript", "onnxruntime.quantization"),
    ("litert", "fp32"): ("litert_torch", "ai_edge_litert"),
    ("litert", "int8"): ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    ("coreml", "fp32"): ("executorch.exir", "coremltools"),
    ("coreml", "fp16"): ("executorch.exir", "coremltools"),
    ("torchscript", "fp32"): (),
}


def precisions_of(runtime: str) -> tuple[str, ...]:
    """Return the precisions that a runtime has files in."""
    return tuple(precision for name, precision in PACKAGES if name == runtime)


def check_choices(key: str, values: Sequence[str], choices: Sequence[str]) -> None:
    """Raise InputError where one of a key's values is none of the choices, or where there are none."""
    for value in values:
        if value not in choices:
            raise InputError(f"{key}: {value} is none of {', '.join(choices)}")
    if not values:
        raise InputError(f"{key} is empty; choose from {', '.join(choices)}")


def check_support(runtime: str, precision: str) -> None:
    """Raise InputError if a runtime has no such precision, or if a package for it is not installed."""
    if (runtime, precision) not in PACKAGES:
        written = ", ".join(precisions_of(runtime))
        raise InputError(f"files for {runtime} are written in {written}, not in {precision}")
    extra = LITERT if runtime == "litert" else EXPORT
    with needs_extra(f"{precision} for {runtime}", extra), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in PACKAGES[runtime, precision]:
            importlib.import_module(package)


class Converter:
    """Brings a model into the formats of runtimes; what is traced of it serves all files of a runtime.

    Args:
        model: for one image, or a part of one for a feature.
        size: (height, width) of the image.
        channels: of the image.
    """

    def __init__(self, model: nn.Module, size: Size, channels: int = 3) -> None:
        self.model, self.size, self.channels = model, size, channels

    def convert(
        self,
        runtime: str,
        calibration: Sequence[Tensor] | None = None,
        float_parts: Sequence[str] = (),
        precision: str = "fp32",
    ) -> Lowered:
        """Return the model in the format of a runtime.

        Args:
            runtime: a key of ``SUFFIXES``.
            calibration: images [1, channels, H, W] that int8 is calibrated with; None: no int8.
            float_parts: modules that stay in float32.
            precision: where it is not int8: fp32, or fp16 for Core ML.

        Raises:
            InputError: the runtime's packages are not installed.
        """
        if runtime == "executorch":
            form = self.model if calibration is None else quantised_pt2e(self.model, calibration, float_parts)
            return to_executorch(form, self.size, self.channels)
        if runtime == "onnx":
            proto = self._onnx if calibration is None else quantised_onnx(self._onnx, calibration, float_parts)
            return finished_onnx(proto)
        if runtime == "litert":
            content = self._litert
            if calibration is not None:
                content = quantised_litert(content, self.model, calibration, float_parts)
            return finished_litert(content)
        if runtime == "coreml":
            return to_coreml(self.model, self.size, precision, self.channels)
        return to_torchscript(self.model, self.size)

    @cached_property
    def _onnx(self) -> Any:
        """In float32, as a protocol buffer."""
        return to_onnx(self.model, self.size, output_names(self.model, self.size, self.channels), self.channels)

    @cached_property
    def _litert(self) -> bytes:
        """In float32, as the content of a file."""
        return to_litert(self.model, self.size, self.channels)


def output_names(model: nn.Module, size: Size, channels: int = 3) -> list[str]:
    """Return the names of a model's outputs in their order."""
    with torch.no_grad():
        return list(model(torch.zeros(1, channels, *size)))
