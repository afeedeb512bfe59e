"""The block types of FPNAS (Sec. 3.1): small graphs of at most three vertices with at most one MBConv.

A vertex adds, concatenates, splits or passes on; an edge is an MBConv or the identity. The first vertex reads the
block's input, the value of the last one is the block's output. These rules follow from the text:

1. Identity and split take one edge, add and concat two. Split cuts the channels into two halves.
2. Only concat after a split restores the width, so the graph has both or none; what an add joins has equal width.
3. At most one edge is an MBConv. It keeps the width inside a block, and makes the new one where the block changes it.
4. No value is lost: each half and each vertex is read, and no part of the output repeats another.

Graphs that compute the same in another basis of the channels count once: with the halves swapped, with a value that is
added twice, or with one half added to the other without a convolution. With x = (l, r) and the MBConv F, every block is
``S x + J F(Q x)`` with fixed matrices S, J and Q, and the types are the classes of (S, J, Q). Six are left. If F reads
all of x, S is 0 (``conv``) or invertible (``add``). If it reads a half, S has rank 1 (``split-concat``), or is
invertible, and F reads what it is added to (``split-add-concat``) or does not (``split-cross-concat``):

========================  =====================  ==========================
topology                  output                 Sec. 3.1.2 calls it
========================  =====================  ==========================
``identity``              x
``conv``                  F(x)
``add``                   x + F(x)               shortcut
``split-concat``          (r, F(l))              split
``split-add-concat``      (r, l + F(l))          both
``split-cross-concat``    (r + F(l), l)          both, across the halves
========================  =====================  ==========================

Two kernels (3, 5) and two expansions (6, 8; the only ones that the paper names) make K = 1 + 5 x 2 x 2 = 21 types. That
fits Table 4, whose E = 20 needs at least 20 types. Where a block changes the width or the stride, nothing can pass by
the convolution, so that 4 are left (``conv``). Concat puts the half that the convolution has not read first, or ahead
of the other, so that the next split's convolution reads it: the paper names no shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from timm.layers import make_divisible

from fbnetv5.archs.cost import Cost, bn_cost, conv_cost
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.types import Size

KERNELS = (3, 5)
EXPANSIONS = (6, 8)

Operation = Literal["identity", "conv"]
Half = Literal["all", "left", "right"]


class Edge(NamedTuple):
    """Vertex ``target`` reads ``half`` of the value of vertex ``source``, through ``operation``."""

    source: int
    target: int
    operation: Operation
    half: Half = "all"


@dataclass(frozen=True)
class Graph:
    """A block's graph.

    Attributes:
        vertices: their operations (identity, add, concat or split), in the order of computation.
        edges: in the order in which concat joins them.
    """

    vertices: tuple[str, ...]
    edges: tuple[Edge, ...]


GRAPHS = {
    "identity": Graph(("identity",), ()),
    "conv": Graph(("identity", "identity"), (Edge(0, 1, "conv"),)),
    "add": Graph(("identity", "add"), (Edge(0, 1, "identity"), Edge(0, 1, "conv"))),
    "split-concat": Graph(("split", "concat"), (Edge(0, 1, "identity", "right"), Edge(0, 1, "conv", "left"))),
    "split-add-concat": Graph(
        ("split", "add", "concat"),
        (
            Edge(0, 1, "identity", "left"),
            Edge(0, 1, "conv", "left"),
            Edge(0, 2, "identity", "right"),
            Edge(1, 2, "identity"),
        ),
    ),
    "split-cross-concat": Graph(
        ("split", "add", "concat"),
        (
            Edge(0, 1, "identity", "right"),
            Edge(0, 1, "conv", "left"),
            Edge(1, 2, "identity"),
            Edge(0, 2, "identity", "left"),
        ),
    ),
}


class Position(NamedTuple):
    """The place of a block: the channels before and after it, its stride, and the dilation of its depthwise kernel."""

    in_channels: int
    out_channels: int
    stride: int = 1
    dilation: int = 1

    @property
    def keeps_shape(self) -> bool:
        """Whether a feature has the same shape before and after the block."""
        return self.in_channels == self.out_channels and self.stride == 1


@dataclass(frozen=True)
class BlockType:
    """One of the K types: a topology, and the MBConv in it.

    Attributes:
        topology: of ``GRAPHS``.
        kernel: side of the depthwise convolution; 0 for ``identity``, which has none.
        expansion: the MBConv is this many times as wide inside; 0 for ``identity``.
    """

    topology: str
    kernel: int = 0
    expansion: int = 0

    @property
    def name(self) -> str:
        """A name for people and files, such as ``split-concat k5e6``."""
        return f"{self.topology} k{self.kernel}e{self.expansion}" if self.kernel else self.topology

    @property
    def key(self) -> str:
        """A name for modules and parameters, such as ``split_concat_k5e6``."""
        return self.name.replace("-", "_").replace(" ", "_")

    @property
    def graph(self) -> Graph:
        """The block's vertices and edges."""
        return GRAPHS[self.topology]

    @property
    def has_conv(self) -> bool:
        """Whether there is an MBConv in it."""
        return self.topology != "identity"

    @property
    def splits(self) -> bool:
        """Whether the MBConv reads and makes half of the channels."""
        return self.topology.startswith("split")

    def fits(self, position: Position) -> bool:
        """Whether the type is valid there.

        Only ``conv`` changes the shape. A split needs two channels; halves that are added to each other are equal.
        """
        if not position.keeps_shape:
            return self.topology == "conv"
        if self.topology == "split-cross-concat":
            return position.in_channels % 2 == 0
        return position.in_channels >= 2 or not self.splits

    def conv_channels(self, position: Position) -> tuple[int, int, int]:
        """Return the MBConv's channels before, inside and after it; the left half is the smaller of an odd width."""
        in_channels, out_channels = position.in_channels, position.out_channels
        if self.splits:
            in_channels = out_channels = in_channels // 2
        return in_channels, make_divisible(in_channels * self.expansion), out_channels

    def cost(self, position: Position, size: Size) -> tuple[Cost, Size]:
        """Return the block's MACs and parameters for a feature of ``size`` (height, width), and its output's size."""
        out_size = (-(-size[0] // position.stride), -(-size[1] // position.stride))
        if not self.has_conv:
            return Cost(), out_size
        before, inside, after = self.conv_channels(position)
        cost = conv_cost(in_channels=before, out_channels=inside, size=size) + bn_cost(inside)
        cost += conv_cost(in_channels=inside, out_channels=inside, size=out_size, kernel=self.kernel, groups=inside)
        cost += bn_cost(inside)
        cost += conv_cost(in_channels=inside, out_channels=after, size=out_size) + bn_cost(after)
        return cost, out_size


BLOCK_TYPES = (
    BlockType("identity"),
    *(BlockType(*chosen) for chosen in product([name for name in GRAPHS if name != "identity"], KERNELS, EXPANSIONS)),
)
_BY_NAME = {chosen.name: chosen for chosen in BLOCK_TYPES}


def block_type(name: str) -> BlockType:
    """Return the type of that name, such as ``split-concat k5e6``.

    Raises:
        InputError: there is no such type.
    """
    if name not in _BY_NAME:
        raise InputError(f"there is no block type '{name}'{nearest(name, _BY_NAME)} (there are {', '.join(_BY_NAME)})")
    return _BY_NAME[name]


def valid_types(position: Position) -> tuple[BlockType, ...]:
    """Return the types that are valid at a position: all 21 where the shape stays, else the 4 of topology conv."""
    return tuple(chosen for chosen in BLOCK_TYPES if chosen.fits(position))
