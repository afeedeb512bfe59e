"""The latency of a network's parts, and what of it counts as the cost of a block.

A network's time is that of its trunk, its blocks and its fusion edges. An edge exists where both of its ends do, so
no cost a block gives that time exactly. :meth:`LatencyTable.block_latencies` halves an edge between its two blocks.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import parse_json, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text

TORCH = "torch"
NUM_ROWS = 2 + NUM_PATHS  # partitions, blocks, and fusion from each path
NUM_VALUES = NUM_PATHS * NUM_ROWS


@dataclass(frozen=True)
class Conditions:
    """Conditions that latencies depend on; tables of equal conditions stand for each other.

    Attributes:
        device: name of the CPU model or of the GPU.
        torch: version of torch.
        threads: torch's CPU threads.
        precision: float32, bfloat16 (autocast) or float64.
        family: name of the family.
        layers: digest of the family's layers.
        size: height and width of the images in pixels.
        batch_size: images at a time.
        repeats: times that a part was timed.
        runtime: what ran the parts: torch, or a runtime of exported files and its version.
    """

    device: str
    torch: str
    threads: int
    precision: str
    family: str
    layers: str
    size: tuple[int, int]
    batch_size: int
    repeats: int
    runtime: str = TORCH

    def __str__(self) -> str:
        images = f"{self.batch_size} image(s) of {self.size[0]} x {self.size[1]}"
        runtime = "" if self.runtime == TORCH else f"{self.runtime}, "
        return f"{self.device}, {runtime}{self.threads} thread(s), {self.precision}, {images}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Conditions:
        """Return the conditions in a file. Raises KeyError or TypeError."""
        return cls(**{**document, "size": tuple(document["size"])})

    @property
    def runtime_name(self) -> str:
        """The runtime without its version."""
        return self.runtime.split()[0]


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of the parts of any network of one family. Every stage's blocks and edges are the same.

    Attributes:
        conditions: how they were measured.
        partition_ms: of the four trunk partitions.
        block_ms: of a block on each of the four paths, without what is fused into it.
        fusion_ms: ``[source path][target path]``, to resample a feature and to add it; 0 on the diagonal.
        head_ms: of heads, by name, where there were any.
        corrected_by: whole networks that the milliseconds were corrected by; 0 if they are as measured.
    """

    conditions: Conditions
    partition_ms: tuple[float, ...]
    block_ms: tuple[float, ...]
    fusion_ms: tuple[tuple[float, ...], ...]
    head_ms: Mapping[str, float] = field(default_factory=dict)
    corrected_by: int = 0

    @property
    def described(self) -> str:
        """The conditions, and whether whole networks corrected the milliseconds."""
        return str(self.conditions) + (f", corrected by {self.corrected_by} networks" if self.corrected_by else "")

    @property
    def trunk_ms(self) -> float:
        """Milliseconds of the whole trunk, the constant beside the sum over blocks."""
        return sum(self.partition_ms)

    def block_latencies(self, num_stages: int) -> list[float]:
        """Return the milliseconds that each block costs, stage by stage: ``num_stages`` x 4 numbers.

        A block costs its own time and fusion's: an edge between two blocks is shared half and half, an edge from the
        trunk (into stage 1) or to one of the four outputs (from the last stage) is the block's alone. So trunk and sum
        are :meth:`network_ms` of the supernet and of the network without blocks, and at least that of any other with
        four outputs: a_i / 2 + a_j / 2 >= a_i a_j. Where all blocks are as likely as not, no other costs and constant
        have a smaller squared error (but for a constant: 1 / 4 of each shared edge too much).
        """
        received = [sum(row[path] for row in self.fusion_ms) for path in range(NUM_PATHS)]
        sent = [sum(row) for row in self.fusion_ms]
        return [
            self.block_ms[path]
            + received[path] * (1.0 if stage == 1 else 0.5)
            + sent[path] * (1.0 if stage == num_stages else 0.5)
            for stage in range(1, num_stages + 1)
            for path in range(NUM_PATHS)
        ]

    def network_ms(self, topology: Topology) -> float:
        """Return the milliseconds of ``MultiPathNet(family, topology)``: of its trunk partitions, blocks and edges."""
        parts = [*self.partition_ms[: topology.num_partitions], *(self.block_ms[path] for _, path in topology.blocks)]
        edges = (self.fusion_ms[source[1]][target[1]] for source, target in topology.edges())  # a path's own cost 0
        return sum(parts) + sum(edges)

    def joint_ms(self, topologies: Iterable[Topology]) -> float:
        """Return the milliseconds of one network for several topologies: the trunk once, and the rest of each."""
        every = list(topologies)
        trunk = sum(self.partition_ms[: max(one.num_partitions for one in every)])
        return trunk + sum(self.network_ms(one) - sum(self.partition_ms[: one.num_partitions]) for one in every)

    def to_list(self) -> list[float]:
        """Return all ``NUM_VALUES`` milliseconds in one list; see :meth:`from_list`."""
        return [*self.partition_ms, *self.block_ms, *(value for row in self.fusion_ms for value in row)]

    @classmethod
    def from_list(cls, conditions: Conditions, values: Sequence[float]) -> LatencyTable:
        """Return the table of :meth:`to_list`'s values."""
        rows = [tuple(values[start : start + NUM_PATHS]) for start in range(0, NUM_VALUES, NUM_PATHS)]
        return cls(conditions, rows[0], rows[1], tuple(rows[2:]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as JSON, atomically.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatencyTable:
        """Read a table that :meth:`save` wrote, to the bit.

        Raises:
            InputError: the file cannot be read or is damaged.
        """
        try:
            return _parse(parse_json(read_text(path)))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _parse(document: dict[str, Any]) -> LatencyTable:
    """Check a file's content. Raises ValueError, KeyError or TypeError."""
    conditions = Conditions.of(document["conditions"])
    rows = [document["partition_ms"], document["block_ms"], *document["fusion_ms"]]
    values = [float(value) for row in rows for value in row]
    if [len(row) for row in rows] != [NUM_PATHS] * NUM_ROWS:
        raise ValueError(f"expected {NUM_ROWS} rows of {NUM_PATHS} latencies")
    heads = {str(name): float(value) for name, value in document.get("head_ms", {}).items()}
    if not all(math.isfinite(value) and value >= 0 for value in (*values, *heads.values())):
        raise ValueError("a latency is negative or not finite")
    table = LatencyTable.from_list(conditions, values)
    return replace(table, head_ms=heads, corrected_by=int(document.get("corrected_by", 0)))
