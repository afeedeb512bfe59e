"""ONNX in int8, by onnxruntime's static quantisation, with the gates of activations inside.

A gate is a sigmoid, or a hard one, clip(x / 6 + 1 / 2, 0, 1), by which features are multiplied: hard-swish, swish and
squeeze-excitation. onnxruntime has no hard sigmoid in eight bits, and would go through float32 and back. But bytes of
scale 6 / 255 and zero point 128 end where a hard sigmoid does, at -3 and 3; read as 0 to 255 of scale 1 / 255 they are
its values, too large by 1 / 510 at most. So a gate is a change of scale, written as a leaky ReLU of slope 1, which
onnxruntime looks up in a table.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fbnetv5.export.extras import needs_extra
from fbnetv5.export.parts import is_quantised, part_of

LAYERS = ("Conv", "Gemm", "MatMul", "Add")
GATES = ("HardSigmoid", "Sigmoid")
SCOPES = "pkg.torch.onnx.name_scopes"  # where torch notes the modules that a node comes from
GATE = (np.array(1 / 255, np.float32), np.array(0, np.uint8))  # scale and zero point of a hard sigmoid's values
ENDS = (np.array(6 / 255, np.float32), np.array(128, np.uint8))  # those of the bytes that they are read from


def quantised_onnx(proto: Any, images: Sequence[Tensor], float_parts: Sequence[str]) -> Any:
    """Return an ONNX model in int8: activations unsigned per tensor, weights signed per channel.

    Args:
        proto: as :func:`fbnetv5.export.onnx.to_onnx` returns it.
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
            return None if image is None else {proto.graph.input[0].name: image.numpy()}

    opened = _with_gates(proto)
    left_out = _left_out(opened.graph, float_parts)
    gates = _outputs(opened.graph, ("HardSigmoid",), left_out)
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, result = (str(Path(folder) / f"{name}.onnx") for name in ("source", "prepared", "int8"))
        onnx.save(opened, source)
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            result,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,  # signed ones keep onnxruntime from fusing half of the convolutions
            weight_type=QuantType.QInt8,
            op_types_to_quantize=[*LAYERS, *GATES, "Mul"],
            nodes_to_exclude=sorted(left_out),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                "CalibMovingAverage": True,  # the mean of the images' ranges, as for ExecuTorch
                "TensorQuantOverrides": {
                    name: [{"quant_type": QuantType.QUInt8, "scale": GATE[0], "zero_point": GATE[1]}] for name in gates
                },
            },
        )
        return _with_looked_up_gates(onnx.load(result))


def _with_gates(proto: Any) -> Any:
    """Return a copy of a model in which each hard-swish is its input times a hard sigmoid of it, as ONNX defines it."""
    from onnx import helper

    copy = type(proto)()
    copy.CopyFrom(proto)
    nodes = []
    for node in copy.graph.node:
        if node.op_type != "HardSwish":
            nodes.append(node)
            continue
        (source,), (result,), gate = node.input, node.output, f"{node.output[0]}_gate"
        parts = [
            helper.make_node("HardSigmoid", [source], [gate], f"{node.name}_gate", alpha=1 / 6, beta=0.5),
            helper.make_node("Mul", [source, gate], [result], node.name),
        ]
        for part in parts:
            part.metadata_props.extend(node.metadata_props)
        nodes += parts
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _left_out(graph: Any, float_parts: Sequence[str]) -> set[str]:
    """Return the names of nodes that stay in float32: those of ``float_parts``, attention, and what is no gate's."""
    constants = {initializer.name for initializer in graph.initializer}
    gates = _outputs(graph, GATES)
    multiplied = {name for node in graph.node if node.op_type == "Mul" for name in node.input}

    def stays(node: Any) -> bool:
        if not is_quantised(_module_of(node), float_parts):
            return True
        if node.op_type == "MatMul":  # attention, and masks from pixels
            return not constants.intersection(node.input)
        if node.op_type == "Mul":
            return not gates.intersection(node.input)
        return node.op_type in GATES and not multiplied.intersection(node.output)

    return {node.name for node in graph.node if stays(node)}


def _outputs(graph: Any, kinds: Sequence[str], left_out: Collection[str] = ()) -> set[str]:
    return {node.output[0] for node in graph.node if node.op_type in kinds and node.name not in left_out}


def _with_looked_up_gates(proto: Any) -> Any:
    """Write the hard sigmoids of a quantised model, which it changes, as changes of scale; return it."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    scale, zero = numpy_helper.from_array(ENDS[0], "gate_scale"), numpy_helper.from_array(ENDS[1], "gate_zero")
    found = False
    for node in graph.node:
        following = readers[node.output[0]] if node.op_type == "HardSigmoid" else []
        if [each.op_type for each in following] == ["QuantizeLinear"]:
            found = True
            following[0].input[1:] = [scale.name, zero.name]
            node.op_type = "LeakyRelu"
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("alpha", 1.0))
    if found:
        graph.initializer.extend([scale, zero])
    return proto


def _module_of(node: Any) -> str:
    """Return the name of the module that a node comes from."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = [scope.strip(" '\"") for scope in entry.value.strip("[]").split(",")]
            modules = [scope for scope in scopes[:-1] if scope]
            return part_of(modules[-1]) if modules else ""
    return ""
