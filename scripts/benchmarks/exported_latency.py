"""Whole exported networks beside the sum of their parts: what is exported, timed and compared."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn

from benchmarks.exported_models import HEADS, NUM_CLASSES, settle
from benchmarks.topologies import draw_topologies, spread_chances
from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import Family, get_family
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.documents import read_text
from fbnetv5.base.files import write_text
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Size
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.deployed import deploy
from fbnetv5.latency.bundle import Exportable
from fbnetv5.latency.correction import MeasuredNetwork, corrected, predicted_ms
from fbnetv5.latency.part_models import HeadEntry
from fbnetv5.latency.table import LatencyTable
from fbnetv5.model.task_net import ModelSpec, build_head, build_model, pruned

SETS = ("fit", "test")  # of networks


@dataclass(frozen=True)
class Network:
    """A whole network to export.

    Attributes:
        name: of its file.
        which: fit, for the correction, or test.
        head: cls, det or seg.
        topology: as the head sees it.
    """

    name: str
    which: str
    head: str
    topology: Topology


@dataclass(frozen=True)
class Comparison:
    """A whole network's milliseconds beside what was expected; a row of the results.

    ``sum_ms`` is that of its parts and its head as measured, ``predicted_ms`` after the correction.
    """

    family: str
    size: str
    runtime: str
    precision: str
    threads: int
    head: str
    which: str
    num_blocks: int
    macs: int
    measured_ms: float
    sum_ms: float
    predicted_ms: float


def head_entries(names: Sequence[str]) -> dict[str, HeadEntry]:
    """Return the final heads of tasks by name, with the classes of the full-size recipes."""
    return {name: ({"_target_": HEADS[name]}, NUM_CLASSES[name]) for name in names}


def draw_networks(family: Family, num_stages: int, heads: Sequence[str], num_fit: int, num_test: int) -> list[Network]:
    """Return networks of random topologies, ``num_fit`` and ``num_test`` for each head."""
    space = TopologySpace(num_stages, [0.0] * 4 * num_stages)
    found = []
    for which, count in zip(SETS, (num_fit, num_test), strict=True):
        for head in heads:
            built = build_head({"_target_": HEADS[head]}, family.channels, NUM_CLASSES[head])
            seed = SETS.index(which) + len(SETS) * list(HEADS).index(head)
            for place, topology in enumerate(draw_topologies(space, spread_chances(count), seed)):
                found.append(Network(f"net_{which}_{head}_{place}", which, head, pruned(topology, built)))
    return found


def exportables(family: Family, size: Size, networks: Sequence[Network]) -> Iterator[Exportable]:
    """Yield what becomes the networks' files."""
    for network in networks:
        described = repr((family.partitions, size, network.head, sorted(network.topology.blocks)))
        build = partial(_built, family.name, size, network)
        yield Exportable(network.name, described, 3, size, build)


def _built(family: str, size: Size, network: Network) -> nn.Module:
    """Build a network with random weights and statistics that keep activations at their scale."""
    crop = size[0] if network.head == "cls" else None
    spec = ModelSpec(
        family=family,
        topology=network.topology,
        head={"_target_": HEADS[network.head]},
        classes=tuple(map(str, range(NUM_CLASSES[network.head]))),
        input=InputSpec(short_side=size[0], crop=crop, multiple=32),
    )
    with forked(0, Purpose.INITIALISATION):
        model = build_model(spec).eval()
        settle(model, torch.randn(2, 3, *size))
    return deploy(model, size)


def compare(
    table: LatencyTable, networks: Sequence[Network], ms: Mapping[str, float]
) -> tuple[LatencyTable, list[Comparison]]:
    """Correct a table by the networks of the set ``fit``, and compare all with it.

    Args:
        table: of the parts, as measured.
        networks: to compare.
        ms: measured, by name.
    """
    fitted = [MeasuredNetwork(each.topology, each.head, ms[each.name]) for each in networks if each.which == "fit"]
    better = corrected(table, fitted) if fitted else table
    conditions = table.conditions
    family = get_family(conditions.family)
    rows = [
        Comparison(
            family=conditions.family,
            size="x".join(map(str, conditions.size)),
            runtime=conditions.runtime_name,
            precision=conditions.precision,
            threads=conditions.threads,
            head=each.head,
            which=each.which,
            num_blocks=len(each.topology.blocks),
            macs=network_cost(family, each.topology, conditions.size).macs,
            measured_ms=round(ms[each.name], 4),
            sum_ms=round(predicted_ms(table, each.topology, each.head), 4),
            predicted_ms=round(predicted_ms(better, each.topology, each.head), 4),
        )
        for each in networks
    ]
    return better, rows


def comparison_text(rows: Sequence[Comparison]) -> str:
    """Return a markdown table of how well networks that no fit has seen are predicted."""
    lines = [
        "| family | runtime | head | networks | ms | sum of parts: Spearman, median error | corrected: Spearman, "
        "median error, worst | MACs: Spearman |",
        "|---|---|---|---|---|---|---|---|",
    ]
    tested = [row for row in rows if row.which == "test"]
    keys: list[Callable[[Comparison], tuple[str, str, str]]] = [
        lambda row: (f"{row.family} {row.size}", _conditions(row), row.head),
        lambda row: (f"{row.family} {row.size}", _conditions(row), "all"),
        lambda row: (f"all {row.size}", _conditions(row), "all"),
    ]
    seen: list[list[Comparison]] = []
    for key in keys:
        for group in sorted(set(map(key, tested))):
            own = [row for row in tested if key(row) == group]
            if own in seen:  # of one head, or of one family
                continue
            seen.append(own)
            times = [row.measured_ms for row in own]
            lines.append(
                f"| {' | '.join(group)} | {len(own)} | {min(times):.1f} to {max(times):.1f} | "
                f"{_order(own, 'sum_ms')}, {statistics.median(_errors(own, 'sum_ms')):.1%} | "
                f"{_order(own, 'predicted_ms')}, {statistics.median(_errors(own, 'predicted_ms')):.1%}, "
                f"{max(_errors(own, 'predicted_ms')):.1%} | {_order(own, 'macs')} |"
            )
    return "\n".join(lines)


def _order(rows: Sequence[Comparison], key: str) -> str:
    expected, times = ([getattr(row, name) for row in rows] for name in (key, "measured_ms"))
    if len(set(expected)) < 2 or len(set(times)) < 2:
        return "-"
    return f"{stats.spearmanr(expected, times).statistic:.3f}"


def _errors(rows: Sequence[Comparison], key: str) -> list[float]:
    return [float(np.abs(getattr(row, key) / row.measured_ms - 1)) for row in rows]


def _conditions(row: Comparison) -> str:
    threads = "" if row.threads == 1 else f", {row.threads} threads"
    return f"{row.runtime} {row.precision}{threads}"


def keep_rows(rows: Sequence[Comparison], file: Path) -> list[Comparison]:
    """Write rows to a table in the place of those of the same network family, size and runtime; return all of it."""
    names = [each.name for each in fields(Comparison)]

    def group(row: Comparison) -> tuple[str, ...]:
        return row.family, row.size, row.runtime, row.precision, str(row.threads)

    new = set(map(group, rows))
    old = [row for row in read_rows(file) if group(row) not in new] if file.exists() else []
    written = io.StringIO()
    writer = csv.DictWriter(written, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in (*old, *rows))
    write_text(file, written.getvalue())
    return [*old, *rows]


def read_rows(file: Path) -> list[Comparison]:
    """Read a table that :func:`keep_rows` wrote."""
    kinds = {"int": int, "float": float, "str": str}
    return [
        Comparison(**{each.name: kinds[str(each.type)](row[each.name]) for each in fields(Comparison)})
        for row in csv.DictReader(io.StringIO(read_text(file)))
    ]
