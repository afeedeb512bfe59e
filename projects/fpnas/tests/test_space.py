"""The block types: derived by brute force, their graphs against their modules, their costs against fvcore."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.projects.fpnas.blocks import build_block
from fbnetv5.projects.fpnas.small_network import DIGITS
from fbnetv5.projects.fpnas.space import BLOCK_TYPES, GRAPHS, BlockType, Edge, Graph, Position, block_type, valid_types

SAME = Position(16, 16)
INPUT = np.eye(2)  # the halves (l, r) of x; a value is a row a half, over (l, r) and over what the MBConv returns


def compute(graph: Graph, conv: nn.Module, feature: Tensor) -> Tensor:
    """Compute a block by its graph, vertex by vertex."""
    values = {}
    for vertex, operation in enumerate(graph.vertices):
        inputs = []
        for edge in graph.edges:
            if edge.target == vertex:
                value = values[edge.source]
                value = value.chunk(2, dim=1)[0 if edge.half == "left" else 1] if edge.half != "all" else value
                inputs.append(conv(value) if edge.operation == "conv" else value)
        inputs = inputs or [feature]
        match operation:
            case "add":
                values[vertex] = inputs[0] + inputs[1]
            case "concat":
                values[vertex] = torch.cat(inputs, dim=1)
            case _:
                (values[vertex],) = inputs
    return values[len(graph.vertices) - 1]


def edge_choices(operations: tuple[str, ...], target: int) -> Iterator[tuple[Edge, ...]]:
    """All edges that may enter a vertex: one for identity and split, two (in order) for add and concat."""
    sources = [
        (source, half)
        for source in range(target)
        for half in (("left", "right") if operations[source] == "split" else ("all",))
    ]
    single = [Edge(source, target, kind, half) for source, half in sources for kind in ("identity", "conv")]
    if operations[target] in ("add", "concat"):
        yield from itertools.product(single, repeat=2)
    else:
        yield from ((edge,) for edge in single)


def raw_graphs() -> Iterator[Graph]:
    """All graphs of one to three vertices with at most one convolution in which every value is read."""
    for count in (1, 2, 3):
        for rest in itertools.product(("identity", "split", "add", "concat"), repeat=count - 1):
            for operations in ((first, *rest) for first in ("identity", "split")):
                for entering in itertools.product(*(list(edge_choices(operations, v)) for v in range(1, count))):
                    edges = tuple(itertools.chain(*entering))
                    values = {
                        (vertex, half)
                        for vertex in range(count - 1)
                        for half in (("left", "right") if operations[vertex] == "split" else ("all",))
                    }
                    few = sum(edge.operation == "conv" for edge in edges) <= 1
                    if few and values == {(edge.source, edge.half) for edge in edges} and operations[-1] != "split":
                        yield Graph(operations, edges)


def matrices(graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return S, J and Q of ``S x + J F(Q x)``, by halves; None where widths do not match."""
    values: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # rows over (l, r), rows over F's output
    read = None
    width_of_conv = next((None for edge in graph.edges if edge.operation == "conv"), 0)
    for vertex, operation in enumerate(graph.vertices):
        inputs = []
        for edge in (edge for edge in graph.edges if edge.target == vertex):
            skip, made = values[edge.source]
            if edge.half != "all":
                if len(skip) != 2:  # a half cannot be split again: nothing joins three parts
                    return None
                row = 0 if edge.half == "left" else 1
                skip, made = skip[row : row + 1], made[row : row + 1]
            if edge.operation == "conv":
                read, width_of_conv = skip, len(skip)
                skip, made = np.zeros_like(skip), np.eye(2)[: len(skip)] if len(skip) == 2 else np.array([[1.0, 0.0]])
            inputs.append((skip, made))
        inputs = inputs or [(INPUT, np.zeros((2, 2)))]
        if operation == "add":
            if len(inputs[0][0]) != len(inputs[1][0]):
                return None
            values[vertex] = (inputs[0][0] + inputs[1][0], inputs[0][1] + inputs[1][1])
        elif operation == "concat":
            follows_a_split = "split" in graph.vertices[:vertex]
            if not follows_a_split or len(inputs[0][0]) + len(inputs[1][0]) != 2:
                return None
            values[vertex] = (np.vstack([inputs[0][0], inputs[1][0]]), np.vstack([inputs[0][1], inputs[1][1]]))
        else:
            (values[vertex],) = inputs
    skip, made = values[len(graph.vertices) - 1]
    if len(skip) != 2:
        return None
    return skip, made[:, : width_of_conv or 0], np.zeros((0, 2)) if read is None else read


def invariants(skip: np.ndarray, made: np.ndarray, read: np.ndarray) -> tuple[int, ...]:
    """Ranks that no invertible change of the channels before or after the block alters."""
    rank = np.linalg.matrix_rank
    system = np.block([[skip, made], [read, np.zeros((len(read), made.shape[1]))]])
    return (
        len(read),
        int(rank(skip)),
        int(rank(np.hstack([skip, made]))) if made.size else int(rank(skip)),
        int(rank(np.vstack([skip, read]))),
        int(rank(system)),
    )


def test_brute_force_derives_the_topologies():
    classes: dict[tuple[int, ...], list[Graph]] = {}
    for graph in raw_graphs():
        found = matrices(graph)
        if (
            found is not None and np.linalg.matrix_rank(np.vstack([found[0], found[2]])) == 2
        ):  # both halves go somewhere
            lossless = np.linalg.matrix_rank(np.hstack([found[0], found[1]])) == 2  # and the output has C channels
            if lossless:
                classes.setdefault(invariants(*found), []).append(graph)
    named = {name: invariants(*matrices(graph)) for name, graph in GRAPHS.items()}  # type: ignore[misc]
    assert len(set(named.values())) == len(named) == 6
    assert set(classes) == set(named.values())


def test_there_are_21_types_and_4_where_the_shape_changes():
    assert len(BLOCK_TYPES) == len({chosen.name for chosen in BLOCK_TYPES}) == 1 + 5 * 2 * 2
    assert valid_types(SAME) == BLOCK_TYPES
    for position in (Position(16, 16, 2), Position(16, 24, 1), Position(16, 24, 2)):
        assert [chosen.name for chosen in valid_types(position)] == ["conv k3e6", "conv k3e8", "conv k5e6", "conv k5e8"]


def test_the_study_of_block_diversity_has_its_topologies():
    assert set(DIGITS) < {chosen.name for chosen in BLOCK_TYPES}
    assert [block_type(name).topology for name in DIGITS] == ["add", "split-concat", "split-add-concat"]


def test_odd_widths_split_unevenly_and_cannot_be_added_across():
    odd = Position(5, 5)
    names = {chosen.topology for chosen in valid_types(odd)}
    assert names == set(GRAPHS) - {"split-cross-concat"}
    assert block_type("split-concat k3e6").conv_channels(odd)[0] == 2
    assert not any(chosen.splits for chosen in valid_types(Position(1, 1)))


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match="no block type 'split-concat k5e7'"):
        block_type("split-concat k5e7")


@pytest.mark.parametrize("chosen", BLOCK_TYPES, ids=lambda chosen: chosen.key)
def test_a_block_builds_runs_scripts_and_costs_what_fvcore_counts(chosen: BlockType):
    block = build_block(chosen, SAME).eval()
    feature = torch.randn(2, 16, 7, 5)
    output = block(feature)
    conv = getattr(block, "conv", block)
    assert torch.equal(output, compute(chosen.graph, conv, feature))
    assert torch.equal(output, torch.jit.script(block)(feature))
    assert torch.equal(output, torch.export.export(block, (feature,)).module()(feature))
    cost, size = chosen.cost(SAME, (7, 5))
    assert size == output.shape[-2:]
    assert cost.macs == measured_macs(block, feature[:1])
    assert cost.params == sum(parameter.numel() for parameter in block.parameters())


@pytest.mark.parametrize("position", [Position(12, 20, 2), Position(12, 20, 1), Position(12, 12, 2), Position(9, 9)])
def test_costs_agree_with_fvcore_where_the_shape_changes_or_is_odd(position: Position):
    for chosen in valid_types(position):
        block = build_block(chosen, position).eval()
        feature = torch.zeros(1, position.in_channels, 9, 6)
        cost, size = chosen.cost(position, (9, 6))
        assert tuple(block(feature).shape) == (1, position.out_channels, *size)
        assert cost.macs == measured_macs(block, feature)


def test_a_type_that_is_not_valid_is_refused():
    with pytest.raises(ValueError, match="not valid"):
        build_block(block_type("add k3e6"), Position(16, 16, 2))


def test_the_next_split_reads_what_this_one_passed_by():
    feature = torch.randn(1, 16, 3, 3)
    output = build_block(block_type("split-concat k3e6"), SAME).eval()(feature)
    assert torch.equal(output[:, :8], feature[:, 8:])
