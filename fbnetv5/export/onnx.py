"""ONNX: a model as an .onnx file for onnxruntime and whatever else reads it, in float32 or int8."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.types import Size
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.parts import is_quantised, part_of

INPUT = "image"
OPSET = 20
QUANTISED = ["Conv", "Gemm", "MatMul", "Add"]
SCOPES = "pkg.torch.onnx.name_scopes"  # where torch notes the modules that a node comes from


def to_onnx(model: nn.Module, size: Size, names: Sequence[str]) -> Any:
    """Return a model as an ONNX protocol buffer.

    Args:
        model: from one image [1, 3, H, W] to named tensors.
        size: (height, width) of the image.
        names: of the outputs, in their order.

    Raises:
        InputError: onnx or onnxscript is not installed.
    """
    with needs_extra("ONNX"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(1, 3, *size),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(names),
            opset_version=OPSET,
        )
    assert program is not None
    return program.model_proto


def quantised_onnx(proto: Any, images: Sequence[Tensor], float_parts: Sequence[str]) -> Any:
    """Return an ONNX model in int8: activations per tensor, weights per channel, by onnxruntime's static quantisation.

    Args:
        proto: as :func:`to_onnx` returns it.
        images: to calibrate with, each [1, 3, H, W].
        float_parts: modules that stay in float32.

    Raises:
        InputError: onnxruntime is not installed.
    """
    with needs_extra("int8 for ONNX"):
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """Hands the images over one by one."""

        def __init__(self) -> None:
            self._images: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else {INPUT: image.numpy()}

    constants = {initializer.name for initializer in proto.graph.initializer}
    left_out = [
        node.name
        for node in proto.graph.node
        if not is_quantised(_module_of(node), float_parts)
        or (node.op_type == "MatMul" and not constants.intersection(node.input))  # attention, and masks from pixels
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, result = (str(Path(folder) / f"{name}.onnx") for name in ("source", "prepared", "int8"))
        onnx.save(proto, source)
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            result,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=left_out,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                "CalibMovingAverage": True,  # the mean of the images' ranges, as for ExecuTorch
            },
        )
        return onnx.load(result)


def finished_onnx(proto: Any) -> Lowered:
    """Return the file's content without the notes on where each node comes from, and with short names inside.

    Both can be a sixth of a small model's file.
    """
    _shorten_names(proto.graph)
    for entry in (*proto.graph.node, *proto.graph.input, *proto.graph.output):
        entry.doc_string = ""
        del entry.metadata_props[:]
    for function in proto.functions:
        function.doc_string = ""
    del proto.graph.metadata_props[:]
    operators = Counter(node.op_type for node in proto.graph.node)
    return Lowered(proto.SerializeToString(), {"onnxruntime": dict(operators.most_common())})


def _shorten_names(graph: Any) -> None:
    """Rename what is inside of a graph; its inputs and outputs keep their names."""
    kept = {entry.name for entry in (*graph.input, *graph.output)} | {""}
    short: dict[str, str] = {name: name for name in kept}

    def renamed(name: str) -> str:
        return short.setdefault(name, f"{len(short):x}")

    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
    for number, node in enumerate(graph.node):
        node.name = f"{number:x}"
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    del graph.value_info[:]  # shapes of what is inside, which every runtime infers


def _module_of(node: Any) -> str:
    """Return the name of the module that a node comes from."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = [scope.strip(" '\"") for scope in entry.value.strip("[]").split(",")]
            modules = [scope for scope in scopes[:-1] if scope]
            return part_of(modules[-1]) if modules else ""
    return ""
