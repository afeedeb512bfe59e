"""ONNX: a model as an .onnx file for onnxruntime and whatever else reads it; ``onnx_int8.py`` quantises it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fbnetv5.base.types import Size
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.lowered import Lowered

INPUT = "image"
OPSET = 20


def to_onnx(model: nn.Module, size: Size, names: Sequence[str], channels: int = 3) -> Any:
    """Return a model as an ONNX protocol buffer.

    Args:
        model: from one image [1, 3, H, W] to named tensors.
        size: (height, width) of the image.
        names: of the outputs, in their order.
        channels: of the image; of a part of a network, those of the feature that it takes.

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
            (torch.zeros(1, channels, *size),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(names),
            opset_version=OPSET,
        )
    assert program is not None
    return program.model_proto


def finished_onnx(proto: Any) -> Lowered:
    """Return the file's content without the notes on where each node comes from, and with short names inside.

    Both can be a sixth of a small model's file.
    """
    plain = type(proto)()
    plain.CopyFrom(proto)
    _shorten_names(plain.graph)
    for entry in (*plain.graph.node, *plain.graph.input, *plain.graph.output):
        entry.doc_string = ""
        del entry.metadata_props[:]
    for function in plain.functions:
        function.doc_string = ""
    del plain.graph.metadata_props[:]
    operators = Counter(node.op_type for node in plain.graph.node)
    return Lowered(plain.SerializeToString(), {"onnxruntime": dict(operators.most_common())})


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
