"""Result of an exporter: the bytes of a file, and what of the model each backend took over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor, fx

_CONVOLUTION = "aten.convolution.default"
_LAYERS = ("aten.linear.default", "aten.addmm.default")
_PRODUCTS = ("aten.mm.default", "aten.bmm.default", "aten.matmul.default")


@dataclass
class Lowered:
    """A model in a runtime's format.

    Attributes:
        data: the file's content.
        operators: backend to operator to how often it runs there.
        macs: backend to multiply-adds an image.
    """

    data: bytes
    operators: dict[str, dict[str, int]] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)

    def share(self, backend: str) -> float:
        """Return the share of the multiply-adds that run on ``backend``, 0..1."""
        return self.macs.get(backend, 0) / max(1, sum(self.macs.values()))


def count_nodes(graph: fx.Graph) -> tuple[Counter[str], int]:
    """Return how often each operator stands in a graph, and its multiply-adds."""
    operators: Counter[str] = Counter()
    macs = 0
    for node in graph.nodes:
        if node.op == "call_function" and "getitem" not in str(node.target):
            operators[operator_name(node)] += 1
            macs += node_macs(node)
    return operators, macs


def operator_name(node: fx.Node) -> str:
    """Return an operator's name without its schema, such as ``aten.convolution.default``."""
    name = getattr(node.target, "__name__", str(node.target))
    namespace = getattr(getattr(node.target, "_schema", None), "name", "").partition("::")[0]
    return f"{namespace}.{name}" if namespace and not name.startswith(namespace) else str(name)


def node_macs(node: fx.Node) -> int:
    """Return the multiply-adds of one call: of a convolution, a linear layer or a matrix product; else 0."""
    name = operator_name(node)
    if name == _CONVOLUTION:
        weight = _shape(node.args[1])
        is_transposed = len(node.args) > 6 and bool(node.args[6])
        size = _shape(node.args[0]) if is_transposed else _shape(node)
        return prod(size) * prod(weight[1:])
    if name in _LAYERS:
        return prod(_shape(node)) * _shape(node.args[1])[-1]  # of linear's weight, of addmm's input
    if name in _PRODUCTS:
        return prod(_shape(node)) * _shape(node.args[0])[-1]
    return 0


def _shape(node: Any) -> list[int]:
    value = node.meta["val"]
    tensor = value if isinstance(value, Tensor) else value[0]
    return [int(side) for side in tensor.shape]
