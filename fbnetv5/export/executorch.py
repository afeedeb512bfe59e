"""ExecuTorch: a model as a .pte file whose convolutions and products run on XNNPACK, in float32 or int8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.infra.partitioner import Partition

from fbnetv5.base.types import Size
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.lowered import Lowered, count_nodes, node_macs, operator_name
from fbnetv5.export.partitions import is_acyclic, parts_by_depth
from fbnetv5.export.parts import is_quantised, part_of
from fbnetv5.export.quiet import quiet
from fbnetv5.export.xnnpack import for_xnnpack

XNNPACK = "XNNPACK"
PORTABLE = "portable kernels"
LAYERS = ("aten.conv2d.default", "aten.linear.default")
SMALLEST_SCALE = 2**-12  # the smallest that XNNPACK takes
KEPT_WHOLE = ("aten.upsample_bilinear2d", "aten.hardswish", "aten.prelu", "aten.max_pool2d")  # no kernel but XNNPACK's
LARGE = 2**14  # numbers; smaller results without a product are not worth a call of the backend


def to_executorch(model: nn.Module, size: Size, channels: int = 3) -> Lowered:
    """Return a model as an ExecuTorch program.

    Args:
        model: from one image [1, 3, H, W] to named tensors; as it is, or as :func:`quantised_pt2e` returns it.
        size: (height, width) of the image.
        channels: of the image; of a part of a network, those of the feature that it takes.

    Raises:
        InputError: executorch is not installed.
    """
    with needs_extra("ExecuTorch"), quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        class WorthwhilePartitioner(XnnpackPartitioner):
            """Leaves to ExecuTorch's own kernels what is small and has no products, such as suppression.

            Where the library proposes parts that wait for each other (executorch 1.5, for branches of several tasks),
            parts are formed by depth.
            """

            def generate_partitions(self, ep: Any) -> list[Any]:
                found = super().generate_partitions(ep)
                graph = ep.graph_module.graph
                if not is_acyclic(graph, {node: part.id for part in found for node in part.nodes}):
                    found = _partitions(parts_by_depth(graph, self.get_matched_nodes_from_configs(ep)))
                return [part for part in found if _is_worthwhile(part.nodes)]

    form = model if isinstance(model, fx.GraphModule) else for_xnnpack(model)
    program = torch.export.export(form, (torch.zeros(1, channels, *size),))
    with quiet():
        edge = to_edge_transform_and_lower(program, partitioner=[WorthwhilePartitioner()])
        lowered = described(edge.exported_program().graph_module, XNNPACK)  # before the next line changes the graph
        lowered.data = bytes(edge.to_executorch().buffer)
    return lowered


def quantised_pt2e(model: nn.Module, images: Sequence[Tensor], float_parts: Sequence[str]) -> nn.Module:
    """Return a model in int8 by PT2E: activations per tensor, weights per channel, as XNNPACK computes them.

    Args:
        model: from one image [1, 3, H, W] to named tensors.
        images: to calibrate with, each [1, 3, H, W].
        float_parts: modules that stay in float32.

    Raises:
        InputError: executorch or torchao is not installed.
    """
    with needs_extra("int8 for ExecuTorch"), quiet():
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    config, observer = get_symmetric_quantization_config(is_per_channel=True), mean_range_observer()
    activations = replace(config.input_activation, observer_or_fake_quant_ctr=observer.with_args(eps=SMALLEST_SCALE))
    config = replace(config, input_activation=activations, output_activation=activations)

    class LayerQuantizer(XNNPACKQuantizer):
        """With concatenation in layers alone; the library does not ask the filter for it."""

        SUPPORTED_PATTERNS: ClassVar = [p for p in XNNPACKQuantizer.SUPPORTED_PATTERNS if p.name != "cat"]

        def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
            """Mark what is quantised."""
            for node in model.graph.nodes:
                is_cat = node.target is torch.ops.aten.cat.default and node.meta["val"].is_floating_point()
                if is_cat and is_quantised(_module_of(node), float_parts):
                    node.meta[Q_ANNOTATION_KEY] = _of_one_scale(node, config.input_activation)
            annotated: fx.GraphModule = super().annotate(model)
            return annotated

    quantizer = LayerQuantizer().set_global(config)
    quantizer.set_filter_function(
        lambda node: node.op != "call_function" or is_quantised(_module_of(node), float_parts)
    )
    with quiet(), torch.no_grad():
        graph = torch.export.export(for_xnnpack(model), (images[0],)).module()
        observed = prepare_pt2e(graph, quantizer)
        observers = [module for module in observed.modules() if isinstance(module, observer)]  # a shared one once
        for image in images:
            for each in observers:
                each.begin_image()
            observed(image)
        converted: fx.GraphModule = convert_pt2e(observed)
    _separate_readers(converted)
    _separate_biases(converted)
    return converted


def mean_range_observer() -> Any:
    """Return the class of the observers of activations."""
    from torchao.quantization.pt2e import MinMaxObserver

    class MeanRangeObserver(MinMaxObserver):
        """The mean of the images' ranges; an image's is that of all tensors that share the observer.

        That of all images would be the strangest one's: values beyond 100 times the others', where a channel that
        hardly ever varies is normalised, took 10 to 20 points of top-1.
        """

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.ranges: list[Tensor] = []

        def begin_image(self) -> None:
            """Keep the range of the image before, if there is one."""
            if self.min_val <= self.max_val:
                self.ranges.append(torch.stack([self.min_val, self.max_val]))
            self.reset_min_max_vals()

        def calculate_qparams(self) -> tuple[Tensor, Tensor]:
            """Return the scale and the zero point."""
            self.begin_image()
            lowest, highest = torch.stack(self.ranges).mean(dim=0)
            scale, zero_point = self._calculate_qparams(lowest, highest)
            return scale, zero_point

    return MeanRangeObserver


def _of_one_scale(cat: fx.Node, qspec: Any) -> Any:
    """Return the annotation of a concatenation: XNNPACK wants its inputs and its output in one scale."""
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, SharedQuantizationSpec

    first, *others = cat.all_input_nodes
    shared = SharedQuantizationSpec((first, cat))
    return QuantizationAnnotation(
        input_qspec_map={first: qspec, **dict.fromkeys(others, shared)}, output_qspec=shared, _annotated=True
    )


def _module_of(node: fx.Node) -> str:
    """Return the name of the module that a node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [name for name, _ in stack.values()]
    return part_of(names[-1]) if names else ""


def _is_worthwhile(nodes: Sequence[fx.Node]) -> bool:
    calls = [node for node in nodes if node.op == "call_function"]
    return any(node_macs(n) > 0 or _numbers(n) >= LARGE or _changes_precision(n) or _is_kept_whole(n) for n in calls)


def _is_kept_whole(node: fx.Node) -> bool:
    """Whether the partitioner keeps an operator from being taken apart, so that it has to take it over."""
    return operator_name(node).startswith(KEPT_WHOLE)


def _partitions(owners: Mapping[fx.Node, int]) -> list[Any]:
    """Return parts as the partitioner of ExecuTorch does."""
    members: dict[int, list[fx.Node]] = {}
    for node in sorted(owners):
        members.setdefault(owners[node], []).append(node)
    return [Partition(id=number, nodes=nodes) for number, nodes in members.items()]


def _changes_precision(node: fx.Node) -> bool:
    return operator_name(node).startswith("quantized_decomposed.")


def _numbers(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def described(graph: fx.GraphModule, backend: str) -> Lowered:
    """Count what the delegates of a lowered graph hold, which a backend computes, and what is left beside them."""
    delegated: Counter[str] = Counter()
    delegated_macs = 0
    for node in graph.graph.nodes:
        module: Any = getattr(graph, node.target, None) if node.op == "get_attr" else None
        if hasattr(module, "original_module"):
            operators, macs = count_nodes(module.original_module.graph)
            delegated += operators
            delegated_macs += macs
    left, left_macs = count_nodes(graph.graph)
    left.pop("executorch_call_delegate", None)
    return Lowered(
        b"",
        {backend: dict(delegated.most_common()), PORTABLE: dict(left.most_common())},
        {backend: delegated_macs, PORTABLE: left_macs},
    )


def _separate_readers(graph: fx.GraphModule) -> None:
    """Give every reader of an int8 value its own conversion to float32.

    XNNPACK's pass that changes memory formats redirects all readers of a conversion at once (executorch 1.5), also
    those that want the other format.
    """
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and "dequantize_per_tensor" in operator_name(node):
            for reader in list(node.users)[1:]:
                with graph.graph.inserting_before(reader):
                    reader.replace_input_with(node, graph.graph.node_copy(node))
    graph.recompile()


def _separate_biases(graph: fx.GraphModule) -> None:
    """Give every call of a layer its own copy of the bias.

    XNNPACK puts a bias into the scale of the layer's input, which differs from level to level of a pyramid.
    """
    seen = set()
    for number, node in enumerate(list(graph.graph.nodes)):
        bias = node.args[2] if operator_name(node) in LAYERS and len(node.args) > 2 else None
        if not isinstance(bias, fx.Node) or bias.op != "get_attr":
            continue
        if bias.target in seen:
            name = f"bias_{number}"
            graph.register_buffer(name, graph.get_parameter(str(bias.target)).detach().clone())
            with graph.graph.inserting_before(node):
                node.update_arg(2, graph.graph.get_attr(name))
        seen.add(bias.target)
    graph.recompile()
