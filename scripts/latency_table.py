"""Measure the latency of a network's parts on a device, and hold their sum against whole networks.

    python scripts/latency_table.py --family NANO --num-stages 4 --size 96

prints what each block costs when a search has search.cost=latency, and keeps the measurement where such a
search looks for it. Then it compares, for random topologies, the time of the whole network with the trunk's plus the
sum over its blocks. Half of the topologies are drawn as a search begins, every block with probability 0.5, half with
other probabilities. Parts and networks are timed in the same rounds, so that what else the machine does meets all
alike.

    python scripts/latency_table.py --family NANO --size 96 --runtime onnx --precision int8 --heads cls seg \
        --topologies 10 --fit 6

exports the parts, the final heads and whole networks of each head, and times the files, in a folder below runs/latency
that a second call goes on with. The sum is corrected by --fit networks a head, and compared with --topologies others.
With --export it only writes the files (--bundle), and with --times it reads their milliseconds, columns part,ms, from a
device that need not be attached; --command asks one that is, as search.latency.command (docs/COST.md).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from benchmarks.exported_latency import Comparison
from benchmarks.exported_models import HEADS
from benchmarks.latency_files import files_text, measure_files_table, sides
from benchmarks.topologies import draw_topologies, spread_chances
from scipy import stats

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import Family, get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.devices import pick_device
from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.base.paths import cache_folder
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.engine.precision import autocast
from fbnetv5.export.formats import PRECISIONS, precisions_of
from fbnetv5.latency.cache import FOLDER, cache_file, keep
from fbnetv5.latency.exported import PACKAGES
from fbnetv5.latency.measure import (
    Call,
    build_network,
    current_conditions,
    network_parts,
    seconds_in_turn,
    table_of,
)
from fbnetv5.latency.table import TORCH, LatencyTable

TORCH_PRECISIONS = ("float32", "bfloat16", "float64")
ESTIMATES = {
    "sum_ms": "trunk + sum over blocks",
    "edges_ms": "trunk + blocks + existing edges",
    "macs": "MACs",
}

OF_FILES = (  # options that are read where files are timed
    *("bundle", "export", "no_export", "times", "command", "pattern", "device_name", "heads", "fit", "busy"),
    "output",
)


@dataclass(frozen=True)
class Measured:
    """A random topology: the median of its network's times, and what was expected of it.

    Attributes:
        from_start: drawn with probability 0.5 for every block.
        num_blocks: selected.
        network_ms: of the whole network, with all four outputs.
        sum_ms: the trunk's latency and the blocks' costs.
        edges_ms: the trunk's latency, the blocks' own and those of the fusion edges that exist.
        macs: of one image.
    """

    from_start: bool
    num_blocks: int
    network_ms: float
    sum_ms: float
    edges_ms: float
    macs: int


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    options = _parsed(arguments)
    measured: list[Measured] = []
    compared: list[Comparison] = []
    if options.runtime == TORCH:
        table, measured = measure(options)
    else:
        found = measure_files_table(options)
        if found is None:
            return
        table, compared = found
    print(table_text(table, options.num_stages))
    if not options.no_cache and not options.busy:  # a search would take CPU time for milliseconds that pass
        keep(table, options.cache)
        print(f"kept in {cache_file(table.conditions, options.cache)}")
    if options.table:
        table.save(options.table)
    if measured:
        print(agreement_text(measured))
    if compared:
        print(files_text(compared, options.output))
    if options.json:
        document = {"table": asdict(table), "networks": [asdict(each) for each in measured]}
        write_text(options.json, json.dumps(document, indent=2) + "\n")


def measure(options: argparse.Namespace) -> tuple[LatencyTable, list[Measured]]:
    """Time the parts and the networks of random topologies in turn."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    family, device = get_family(options.family), pick_device(options.device)
    conditions = current_conditions(
        family,
        sides(options, family),
        device,
        precision=options.precision,
        batch_size=options.batch_size,
        repeats=options.repeats,
    )
    space = TopologySpace(options.num_stages, [0.0] * 4 * options.num_stages)
    topologies = draw_topologies(space, spread_chances(options.topologies), seed=0)
    network, images = build_network(family, options.num_stages, conditions, device)
    with torch.inference_mode(), autocast(device, conditions.precision):
        parts = network_parts(network, images)
        whole = {(-1, i): _call(network, images, topology) for i, topology in enumerate(topologies)}
        seconds = seconds_in_turn({**parts, **whole}, options.repeats, device)
    table = table_of(seconds, conditions)
    times = [1e3 * statistics.median(seconds[key]) for key in whole]
    return table, compare(family, table, topologies, times)


def compare(
    family: Family, table: LatencyTable, topologies: Sequence[Topology], times_ms: Sequence[float]
) -> list[Measured]:
    """Put what the table says beside the networks' times. The first half of the topologies is that from the start."""
    size = table.conditions.size
    measured = []
    for index, (topology, time_ms) in enumerate(zip(topologies, times_ms, strict=True)):
        costs = table.block_latencies(topology.num_stages)
        chosen = TopologySpace(topology.num_stages, costs).encode(topology)
        measured.append(
            Measured(
                from_start=index < len(topologies) // 2,
                num_blocks=len(topology.blocks),
                network_ms=time_ms,
                sum_ms=table.trunk_ms + sum(cost for cost, is_chosen in zip(costs, chosen, strict=True) if is_chosen),
                edges_ms=table.network_ms(topology),
                macs=network_cost(family, topology, size).macs,
            )
        )
    return measured


def table_text(table: LatencyTable, num_stages: int) -> str:
    """Lay out what each block costs, and what that consists of."""
    block_costs = table.block_latencies(num_stages)
    lines = [
        f"{table.conditions.family} on {table.conditions}; median of {table.conditions.repeats}, in ms",
        f"{'path':<28}" + "".join(f"{path:>9}" for path in range(4)),
        f"{'trunk partition':<28}" + "".join(f"{ms:9.3f}" for ms in table.partition_ms),
        f"{'block alone':<28}" + "".join(f"{ms:9.3f}" for ms in table.block_ms),
    ]
    for source, row in enumerate(table.fusion_ms):
        lines.append(f"{f'fusion from path {source}':<28}" + "".join(f"{ms:9.3f}" if ms else f"{'-':>9}" for ms in row))
    for stage in range(num_stages):
        costs = block_costs[4 * stage : 4 * stage + 4]
        lines.append(f"{f'block of stage {stage + 1}, cost':<28}" + "".join(f"{ms:9.3f}" for ms in costs))
    lines.append(f"trunk {table.trunk_ms:.3f}, all blocks {sum(block_costs):.3f}")
    return "\n".join(lines)


def agreement_text(measured: Sequence[Measured]) -> str:
    """Return how well each estimate orders and predicts the networks' times."""
    low, high = min(each.network_ms for each in measured), max(each.network_ms for each in measured)
    lines = [f"\nwhole networks of {len(measured)} topologies: {low:.2f} to {high:.2f} ms"]
    lines.append(
        f"{'estimate':<34}{'topologies':<20}{'Spearman':>9}{'Kendall':>9}{'mean ratio':>12}{'worst error':>13}"
    )
    for key, name in ESTIMATES.items():
        for group, which in (
            (list(measured), f"all {len(measured)}"),
            ([each for each in measured if each.from_start], "as a search begins"),
        ):
            lines.append(f"{name:<34}{which:<20}{_agreement(group, key)}")
    lines.append("ratio: estimate over measured; worst error: the largest |ratio - 1|")
    return "\n".join(lines)


def _agreement(group: Sequence[Measured], key: str) -> str:
    expected, times = [getattr(each, key) for each in group], [each.network_ms for each in group]
    if len(set(expected)) < 2 or len(set(times)) < 2:
        return f"{'-':>9}{'-':>9}"
    ranks = f"{stats.spearmanr(expected, times).statistic:9.3f}{stats.kendalltau(expected, times).statistic:9.3f}"
    if key == "macs":
        return ranks
    ratios = [estimate / time for estimate, time in zip(expected, times, strict=True)]
    return f"{ranks}{statistics.mean(ratios):12.3f}{max(abs(ratio - 1) for ratio in ratios):12.1%}"


def _call(network: MultiPathNet, images: torch.Tensor, topology: Topology) -> Call:
    return lambda: network(images, topology)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--family", default="NANO", help="of the network (default: NANO)")
    add("--num-stages", type=at_least(1), default=4, metavar="N", help="stages after the trunk (default: 4)")
    add(
        "--size",
        type=at_least(32),
        nargs="+",
        metavar="PIXELS",
        help="side, or height and width (default: the family's)",
    )
    add("--batch-size", type=at_least(1), default=1, metavar="N", help="images at a time (default: 1)")
    add("--runtime", choices=(TORCH, *PACKAGES), default=TORCH, help="that runs the parts (default: torch)")
    add("--precision", choices=(*TORCH_PRECISIONS, *PRECISIONS), help="(default: float32; of files, fp32)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    add("--threads", type=at_least(1), metavar="N", help="torch's CPU threads (default: torch's own choice)")
    add("--repeats", type=at_least(1), default=50, metavar="N", help="times that each part is timed (default: 50)")
    add("--topologies", type=at_least(0), metavar="N", help="whole networks to compare with (default: 30; of files, 0)")
    add("--cache", type=Path, default=cache_folder(FOLDER), metavar="DIR", help="as runtime.latency_cache")
    add("--no-cache", action="store_true", help="do not keep the measurement")
    add("--table", type=Path, metavar="OUT", help="write the table there too, for search.latency.table")
    _add_files(parser.add_argument_group("exported files"))
    add("--json", type=Path, metavar="OUT", help="write the figures there too")
    return parser


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--bundle", type=Path, metavar="DIR", help="of the files (default: below runs/latency)")
    what = group.add_mutually_exclusive_group()
    what.add_argument("--export", action="store_true", help="write the files, and time nothing")
    what.add_argument("--no-export", action="store_true", help="time the files that are there, and write none")
    add("--times", type=Path, metavar="CSV", help="read the files' milliseconds from there instead of timing them")
    add("--command", help="that times a file, as search.latency.command (default: this machine's runtime)")
    add("--pattern", help="as search.latency.pattern")
    add("--timeout", type=float, default=120.0, metavar="SECONDS", help="of the command for a file (default: 120)")
    add(
        "--device-name",
        metavar="NAME",
        help="of the device (default, without --times: the command, or this CPU)",
    )
    add("--heads", nargs="*", choices=tuple(HEADS), default=[], help="final heads to time too, and to put on networks")
    add("--fit", type=at_least(0), default=0, metavar="N", help="networks a head that correct the sum (default: 0)")
    add("--busy", action="store_true", help="other work goes on: the CPU time of one thread counts")
    add("--output", type=Path, metavar="CSV", help="put the comparison with whole networks there, beside others")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options, with the defaults that depend on the runtime."""
    parser = _parser()
    options = parser.parse_args(arguments)
    in_torch = options.runtime == TORCH
    precisions = TORCH_PRECISIONS if in_torch else precisions_of(options.runtime)
    options.precision = options.precision or precisions[0]
    if options.precision not in precisions:
        raise InputError(f"--precision {options.precision}: {options.runtime} has {', '.join(precisions)}")
    given = [name for name in OF_FILES if getattr(options, name) != parser.get_default(name)]
    if in_torch and given:
        shown = given[0].replace("_", "-")
        raise InputError(f"--{shown} is for exported files: give --runtime, one of {', '.join(PACKAGES)}")
    if options.times is not None and (not options.device_name or options.threads is None):
        raise InputError("--times are those of another device: name it and its threads, --device-name and --threads")
    if options.topologies is None:
        options.topologies = 30 if in_torch else 0
    return options


if __name__ == "__main__":
    main()
